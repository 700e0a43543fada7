"""The hospital's agent: trains on local scans and talks to the hub by outbound HTTPS only."""

from typing import Final

# A constant, not package metadata: the agent also runs from a checkout. A test compares it with pyproject.toml.
__version__: Final = "0.1.0"
