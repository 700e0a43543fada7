"""The agent's parts, put together: what each step of a task gets to work with."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from client_agent.clock import Backoff, Clock, Stop, SystemClock
from client_agent.config import Config, Home, load_config
from client_agent.console import Display
from client_agent.errors import SetupError
from client_agent.http import Http
from client_agent.hub import Hub
from client_agent.journal import Journal
from client_agent.parts import PartSize
from client_agent.scans import LocalScans
from hospintel_core import signing


@dataclass
class Agent:
    """One enrolled agent at work. `backoff` is shared by all steps: any progress resets it. `parts` knows the line."""

    home: Home
    config: Config
    key: Ed25519PrivateKey
    hub: Hub
    journal: Journal
    scans: LocalScans
    display: Display
    stop: Stop
    clock: Clock
    backoff: Backoff = field(init=False)
    parts: PartSize = field(default_factory=PartSize)

    def __post_init__(self) -> None:
        self.backoff = Backoff(self.clock)


@contextmanager
def open_agent(
    home: Home,
    *,
    data: Path | None,
    weights: Path | None,
    display: Display,
    stop: Stop,
    clock: Clock | None = None,
) -> Iterator[Agent]:
    """Open the enrolled agent of `home`, alone, and close it after the block. `data` wins over the enrolment's.

    Raises:
        SetupError: not_enrolled, config_broken, no_data_path, home_busy.
        KeyFileError: the agent's key cannot be used.
        StorageError: the home cannot be written.
    """
    config = load_config(home)
    place = data or (Path(config.data) if config.data else None)
    if place is None:
        raise SetupError(
            "no_data_path",
            "no --data was given, here or at enrolment",
            "--data is a folder or zip file of class folders",
        )
    key = signing.read_private_key(home.key, Ed25519PrivateKey)
    home.create()
    clock = clock or SystemClock(stop)
    with ExitStack() as stack:
        stack.enter_context(home.locked())
        http = Http(config.hub, token=config.token, ca=config.ca_path, stop=stop)
        stack.callback(http.close)
        yield Agent(
            home=home,
            config=config,
            key=key,
            hub=Hub(http, config.federation),
            journal=stack.enter_context(Journal(home.journal, clock.now_ms)),
            scans=LocalScans(place, cache=home.features, weights=weights, display=display, stop=stop),
            display=display,
            stop=stop,
            clock=clock,
        )
