"""Processes and what they take of the memory, from /proc."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

_KIB = 1024


class Memory(NamedTuple):
    """Bytes that are resident: now, and at the most since `reset_peaks`."""

    now: int
    peak: int


def descendants(pid: int) -> list[int]:
    """Pids of the children of a process, and of theirs, parents first."""
    found: list[int] = []
    for child in sorted(_children(pid)):
        found += [child, *descendants(child)]
    return found


def memory(pid: int) -> Memory:
    """Return what a process and all below it take together."""
    found = [one for each in (pid, *descendants(pid)) if (one := _of_one(each)) is not None]
    return Memory(sum(one.now for one in found), sum(one.peak for one in found))


def reset_peaks(pid: int) -> None:
    """Forget the peaks of a process and all below it."""
    for one in (pid, *descendants(pid)):
        Path(f"/proc/{one}/clear_refs").write_text("5")


def _of_one(pid: int) -> Memory | None:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return None
    fields = dict(line.split(":", 1) for line in lines)
    # One that has ended and was not waited for has none.
    return Memory(*(int(fields[name].split()[0]) * _KIB for name in ("VmRSS", "VmHWM"))) if "VmRSS" in fields else None


def _children(pid: int) -> Iterator[int]:
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            status = (folder / "stat").read_text()
        except OSError:
            continue
        # The name, in brackets, may hold anything; the parent is the second field after it.
        if int(status.rpartition(")")[2].split()[1]) == pid:
            yield int(folder.name)
