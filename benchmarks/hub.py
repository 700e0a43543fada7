"""A hub as `manage.py up` starts it."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from apps.federation.pipeline import bootstrap, keys
from hospintel_site.demo.processes import Processes
from hospintel_site.demo.signals import Signals
from hospintel_site.ports import any_free


@contextmanager
def running(folder: Path, architecture: str) -> Iterator[Processes]:
    """Run it, with its default federation of this architecture, where that is not there yet."""
    keys.ensure_keys()
    bootstrap.ensure_federation(architecture=architecture)
    processes = Processes(folder, any_free("127.0.0.1"), os.environ, Signals())
    try:
        processes.start_hub()
        yield processes
    finally:
        processes.stop()
