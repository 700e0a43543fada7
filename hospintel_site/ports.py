"""Whether a port can be had, and who has it."""

import errno
import socket
from dataclasses import dataclass
from pathlib import Path

_LISTENING = "0A"


@dataclass(frozen=True)
class Holder:
    """A process that listens on a port."""

    pid: int
    command: str


def is_free(bind: str, port: int) -> bool:
    """Return whether we could listen there. Raises OSError for an address that is not ours."""
    family = socket.AF_INET6 if ":" in bind else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        # As the server does: connections that are just closing do not count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((bind, port))
            probe.listen(1)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return False
            raise
    return True


def any_free(bind: str) -> int:
    """Return a port that nobody listens on just now."""
    family = socket.AF_INET6 if ":" in bind else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.bind((bind, 0))
        return int(probe.getsockname()[1])


def holder(port: int) -> Holder | None:
    """Return who listens on the TCP port, as far as /proc tells (Linux; other accounts' processes only as root)."""
    inodes = _listening_inodes(port)
    if not inodes:
        return None
    wanted = {f"socket:[{inode}]" for inode in inodes}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if any(str(link.readlink()) in wanted for link in (process / "fd").iterdir()):
                words = (process / "cmdline").read_bytes().split(b"\0")
                return Holder(int(process.name), b" ".join(words).decode(errors="replace").strip())
        except OSError:
            continue  # it ended meanwhile, or belongs to somebody else
    return None


def in_use(port: int) -> str:
    """Return a sentence that names who listens on the TCP port."""
    who = holder(port)
    by = f"process {who.pid} ({who.command})" if who else "a process of another account"
    return f"Port {port} is in use by {by}."


def _listening_inodes(port: int) -> set[str]:
    found = set()
    for table in (Path("/proc/net/tcp"), Path("/proc/net/tcp6")):
        try:
            lines = table.read_text(encoding="ascii").splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            fields = line.split()
            local, state, inode = fields[1], fields[3], fields[9]
            if state == _LISTENING and int(local.rpartition(":")[2], 16) == port:
                found.add(inode)
    return found
