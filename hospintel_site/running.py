"""What a running hub says of itself beside its lock, for commands in another shell: they know none of its settings."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

NAME = "up.json"


@dataclass(frozen=True)
class Running:
    """A hub that runs: its process, the address at which hospitals reach it, and the file of its own CA, if any."""

    pid: int
    address: str
    ca: str = ""


@contextmanager
def announced(folder: Path, *, address: str, ca: str = "") -> Iterator[None]:
    """Say in the folder that this process runs a hub, until the block ends."""
    path, part = folder / NAME, folder / f"{NAME}.part"
    part.write_text(json.dumps(asdict(Running(os.getpid(), address, ca))), encoding="utf-8")
    part.replace(path)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


def running(folder: Path) -> Running | None:
    """Return the hub that runs on this folder; None where none does, or it was killed and left its word behind."""
    try:
        said = Running(**json.loads((folder / NAME).read_text(encoding="utf-8")))
        os.kill(said.pid, 0)
    except (OSError, ValueError, TypeError):
        return None
    return said
