"""What the processes of a hub take of the memory, from /proc."""

from pathlib import Path

_KIB = 1024


def of_hub(pid: int) -> dict[int, tuple[int, int]]:
    """Return for a process and all below it the bytes that are resident now, and at the most since `reset_peaks`."""
    found = {}
    for one in (pid, *_below(pid)):
        try:
            lines = Path(f"/proc/{one}/status").read_text().splitlines()
        except OSError:
            continue
        fields = dict(line.split(":", 1) for line in lines)
        if "VmRSS" in fields:
            found[one] = (_bytes(fields["VmRSS"]), _bytes(fields["VmHWM"]))
    return found


def reset_peaks(pid: int) -> None:
    """Forget the peaks of a process and all below it."""
    for one in (pid, *_below(pid)):
        Path(f"/proc/{one}/clear_refs").write_text("5")


def _bytes(text: str) -> int:
    return int(text.split(maxsplit=1)[0]) * _KIB


def _below(pid: int) -> list[int]:
    found: list[int] = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            status = (folder / "stat").read_text()
        except OSError:
            continue
        # The name, in brackets, may hold anything; the parent is the second field after it.
        if int(status.rpartition(")")[2].split()[1]) == pid:
            found += [int(folder.name), *_below(int(folder.name))]
    return found
