"""Arm failpoints (hospintel_core/failpoints.py) in processes that run, and catch those that get there."""

import os
from pathlib import Path

from harness import Hub, eventually

from hospintel_core.failpoints import FOLDER, POINTS, SWITCH


class Failpoints:
    """The failpoints of a hub and its agents; `folder` is where they look what is armed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    @property
    def environment(self) -> dict[str, str]:
        """What processes are started with, so that their failpoints can be armed."""
        return {SWITCH: "1", FOLDER: str(self.folder)}

    def arm(self, point: str, passes: int = 0, action: str = "sleep") -> None:
        """Let this happen to whoever gets to the point after so many have passed it."""
        assert point in POINTS
        self.disarm(point)
        draft = self.folder / f"{point}.{os.getpid()}"
        draft.write_text(f"{action}:{passes}")
        draft.rename(self.folder / point)

    def disarm(self, point: str) -> None:
        """Let nothing happen there any more; who stands there goes on standing."""
        for name in (point, f"{point}.hits", f"{point}.pid"):
            (self.folder / name).unlink(missing_ok=True)

    def fired(self, point: str) -> int | None:
        """Pid of the process to which it has happened; None as long as it has not."""
        note = self.folder / f"{point}.pid"
        return int(note.read_text()) if note.exists() else None

    def caught(self, point: str, hub: Hub) -> int:
        """Wait for the process that stands still there; returns its pid."""
        return int(eventually(lambda: self.fired(point), f"a process gets to {point}", hub.logs))

    def release(self, point: str) -> None:
        """Let whoever stands there go on."""
        (self.folder / f"{point}.free").touch()
