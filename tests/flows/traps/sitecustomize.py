"""Lets a process of the hub stand still at a named point, so that a test can kill it exactly there.

Python imports this at its start where this folder is on PYTHONPATH. A file `<point>.<before|after>` in the folder TRAPS
arms a trap and holds how many passes it lets through; the process that is caught leaves a note `...caught`, with its
pid in it, and goes no further until there is a file `...free`. The hub's own code knows nothing of this.
"""

import os
import sys
import time
from collections.abc import Callable
from functools import wraps
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any

# Point -> the module that calls it by this name, or holds it.
POINTS = {
    "read_scan": ("apps.finetune.pipeline.vault", "read"),
    "epoch": ("apps.finetune.pipeline.train", "_Training._epoch_done"),
    "store_head": ("apps.federation.pipeline.storage", "store_head"),
    "end_job": ("apps.finetune.pipeline.claim", "end_job"),
    "erase_key": ("hospintel_core.signing", "erase_key"),
    "erase_scans": ("apps.finetune.pipeline.vault", "erase"),
    "advance_job": ("apps.finetune.pipeline.jobs", "advance"),
    "propose": ("apps.federation.pipeline.propose", "propose"),
}
FOLDER = Path(os.environ["TRAPS"])


def stop_at(name: str) -> None:
    """Stand still if a trap of this name is armed, and for us."""
    armed = FOLDER / name
    try:
        passes = int(armed.read_text())
        if passes > 0:
            armed.write_text(str(passes - 1))
            return
        note = FOLDER / f"{name}.{os.getpid()}"
        note.write_text(str(os.getpid()))
        armed.unlink()
    except FileNotFoundError:
        return
    note.rename(FOLDER / f"{name}.caught")
    free = FOLDER / f"{name}.free"
    while not free.exists():
        time.sleep(0.1)
    free.unlink()


def trapped(point: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, with a place to stop before it and one after it."""

    @wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        stop_at(f"{point}.before")
        result = function(*args, **kwargs)
        stop_at(f"{point}.after")
        return result

    return call


def set_traps(module: ModuleType) -> None:
    """Put the traps of a module where its functions are."""
    for point, (name, path) in POINTS.items():
        if name == module.__name__:
            *outer, last = path.split(".")
            owner: Any = module
            for part in outer:
                owner = getattr(owner, part)
            setattr(owner, last, trapped(point, getattr(owner, last)))


class Finder(MetaPathFinder):
    """Finds the modules that have points, and sets the traps once they are loaded."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        if all(name != module for module, _ in POINTS.values()):
            return None
        spec = PathFinder.find_spec(name, path, target)
        if spec is not None and spec.loader is not None:
            load = spec.loader.exec_module

            def exec_module(module: ModuleType) -> None:
                load(module)
                set_traps(module)

            spec.loader.exec_module = exec_module  # type: ignore[method-assign] # this one loader, for this one module
        return spec


sys.meta_path.insert(0, Finder())
