"""Parts of the agent, alone."""

import logging
from pathlib import Path

from client_agent.clock import Stop
from client_agent.console import Display, LineDisplay
from client_agent.scans import LocalScans


def local_scans(data: Path, folder: Path, stop: Stop | None = None, display: Display | None = None) -> LocalScans:
    """The scans in `data`, with the cache in `folder`."""
    display = display or LineDisplay(logging.getLogger("client_agent"))
    return LocalScans(data, cache=folder / "features", weights=None, display=display, stop=stop or Stop())
