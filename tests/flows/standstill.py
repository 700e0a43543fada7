"""Arm traps in which processes of the hub stand still (tests/flows/traps/sitecustomize.py)."""

import os
from pathlib import Path

from harness import Hub, eventually


class Traps:
    """Where processes of the hub are made to stand still."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def environment(self) -> dict[str, str]:
        """What a hub is started with, so that its processes can be caught."""
        here = str(Path(__file__).with_name("traps"))
        path = os.pathsep.join(filter(None, [here, os.environ.get("PYTHONPATH")]))
        return {"PYTHONPATH": path, "TRAPS": str(self.folder)}

    def arm(self, point: str, passes: int = 0) -> None:
        """Stop whoever gets to the point after so many have passed it."""
        (self.folder / point).write_text(str(passes))

    def caught(self, point: str, hub: Hub) -> int:
        """Wait for the process that stands still there; returns its pid."""
        note = self.folder / f"{point}.caught"
        eventually(note.exists, f"a process gets to {point}", hub.logs)
        pid = int(note.read_text())
        note.unlink()
        return pid

    def release(self, point: str) -> None:
        """Let whoever stands there go on."""
        (self.folder / f"{point}.free").touch()
