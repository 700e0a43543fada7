#!/usr/bin/env python3
"""A private PostgreSQL and Redis: `python -m tools.services COMMAND...` runs a command with both in its environment.

They lie in a temporary folder, keep nothing, and end when this process does, however that ends. They need Debian's
packages `postgresql` and `redis-server`.
"""

import ctypes
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import redis

from hospintel_site import ports

START_SECONDS, STOP_SECONDS, LOOK_SECONDS = 60, 20, 0.02
LOOPBACK = "127.0.0.1"
ACCOUNT = "postgres"
# Each hub of a test process has a database number of its own in Redis.
QUEUES = 1000
_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None)


class MissingError(Exception):
    """A program or an account that is needed is not there."""


class Server:
    """A server process that ends with this one.

    Args:
        argv: its command line.
        log: where its output goes.
        end: the signal with which it ends in order.
        account: the account it runs as; None for ours.
        answers: raises an OSError or one of the clients' errors as long as it does not answer.
    """

    def __init__(
        self,
        argv: Sequence[str | Path],
        *,
        log: Path,
        end: signal.Signals,
        account: str | None,
        answers: Callable[[], object],
    ) -> None:
        self._argv, self._log, self._end, self._account, self._answers = argv, log, end, account, answers
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it answers. Raises RuntimeError, with its own words, if it does not."""
        end, parent = self._end, os.getpid()

        def end_with_us() -> None:
            # Runs after the change of account, which would undo it.
            _LIBC.prctl(_PR_SET_PDEATHSIG, end)
            if os.getppid() != parent:
                os._exit(1)

        with self._log.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 - Debian's own programs
                self._argv,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                user=self._account,
                group=self._account,
                extra_groups=[] if self._account else None,
                start_new_session=True,  # Ctrl-C reaches us alone
                preexec_fn=end_with_us,  # noqa: PLW1509 - it takes no lock
            )
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                self._answers()
            except (OSError, psycopg.Error, redis.RedisError) as error:
                if self._process.poll() is None and time.monotonic() < deadline:
                    time.sleep(LOOK_SECONDS)
                    continue
                said = self._log.read_text(errors="replace")[-2000:]
                raise RuntimeError(f"{self._argv[0]} does not answer: {error}\n{said}") from error
            return

    def stop(self, number: signal.Signals | None = None) -> None:
        """End it, in order or by another signal."""
        if self._process is None:
            return
        if self._process.poll() is None:
            self._process.send_signal(number or self._end)
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def crash(self, down_seconds: float) -> None:
        """Kill -9 it, and start it again after that time, as whatever runs it would.

        Raises RuntimeError where it does not come back: a PostgreSQL waits for the end of the old one's processes.
        """
        self.stop(signal.SIGKILL)
        time.sleep(down_seconds)
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                return self.start()
            except RuntimeError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(LOOK_SECONDS)


class Postgres(Server):
    """An empty PostgreSQL, reached through a socket in its folder by whoever may look into that."""

    def __init__(self, folder: Path) -> None:
        programs = _postgres_programs()
        # As root it refuses to run.
        account = ACCOUNT if os.geteuid() == 0 else None
        if account is not None:
            shutil.chown(folder, account, account)
        cluster = folder / "cluster"
        user = account or pwd.getpwuid(os.geteuid()).pw_name
        self.url = f"postgresql://{user}@/postgres?host={folder}"
        initdb = [programs / "initdb", "-D", cluster, "-U", user, "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8"]
        made = subprocess.run(  # noqa: S603 - Debian's own program
            [*initdb, "--no-sync"],
            user=account,
            group=account,
            extra_groups=[] if account else None,
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
        )
        if made.returncode:
            raise RuntimeError(f"initdb failed: {made.stdout}{made.stderr}")
        # Nothing of it shall outlive the machine, but its processes; the tests' many processes are many connections.
        careless = ["fsync=off", "full_page_writes=off", "max_connections=300"]
        super().__init__(
            [programs / "postgres", "-D", cluster, "-k", folder, *_options(["listen_addresses=", *careless])],
            log=folder / "postgres.log",
            end=signal.SIGINT,  # it closes its connections, SIGTERM would wait for their owners
            account=account,
            answers=lambda: psycopg.connect(self.url).close(),
        )

    def add(self) -> str:
        """Create an empty database; returns its URL."""
        return new_database(self.url)


class Redis(Server):
    """An empty Redis on a port of loopback."""

    def __init__(self, folder: Path) -> None:
        program = shutil.which("redis-server")
        if program is None:
            raise MissingError("There is no redis-server on PATH.")
        port = ports.any_free(LOOPBACK)
        self.url = f"redis://{LOOPBACK}:{port}/0"
        keeps_nothing = ["--save", "", "--appendonly", "no", "--dir", str(folder), "--databases", str(QUEUES)]
        super().__init__(
            [program, "--port", str(port), "--bind", LOOPBACK, *keeps_nothing],
            log=folder / "redis.log",
            end=signal.SIGTERM,
            account=None,
            answers=lambda: self.client().ping(),
        )

    def client(self) -> "redis.Redis[bytes]":
        """Return a client."""
        return redis.Redis.from_url(self.url)


def new_database(url: str) -> str:
    """Create an empty database beside the one that the URL names; returns its URL."""
    name = f"hub_{uuid.uuid4().hex}"
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"')
    return named(url, name)


def named(url: str, name: str) -> str:
    """Return the URL of another database of the same PostgreSQL."""
    return urlsplit(url)._replace(path=f"/{name}").geturl()


def replace_database(url: str) -> None:
    """Lose a database and create an empty one of its name; whoever is connected is cut off."""
    with psycopg.connect(named(url, "postgres"), autocommit=True) as connection:
        name = urlsplit(url).path.strip("/")
        connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')
        connection.execute(f'CREATE DATABASE "{name}"')


def new_queue(url: str) -> str:
    """Return the URL of a database of the same Redis that nobody uses yet."""
    with redis.Redis.from_url(url) as client:
        number = int(client.incr("queues"))
    return urlsplit(url)._replace(path=f"/{number}").geturl()


def _postgres_programs() -> Path:
    """Return the folder of PostgreSQL's programs, of the newest where there are several. Raises MissingError."""
    versions = [path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/postgres")]
    if versions:
        return max(versions, key=lambda path: float(path.parent.name))
    on_path = shutil.which("postgres")
    if on_path is None:
        raise MissingError("There is no PostgreSQL in /usr/lib/postgresql or on PATH.")
    return Path(on_path).resolve().parent


def _options(settings: Sequence[str]) -> Iterator[str]:
    for setting in settings:
        yield from ("-c", setting)


@contextmanager
def running() -> Iterator[tuple[Postgres, Redis]]:
    """Run both for the time of the block. Raises MissingError where one is not installed."""
    with ExitStack() as stack:
        folder = Path(tempfile.mkdtemp(prefix="hospintel-services-"))
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        # The account of PostgreSQL has to come through to a folder of its own.
        folder.chmod(0o711)
        places = [folder / name for name in ("postgres", "redis")]
        for place in places:
            place.mkdir(mode=0o700)
        servers = Postgres(places[0]), Redis(places[1])
        for server in servers:
            stack.callback(server.stop)
            server.start()
        yield servers


def main() -> int:
    """Run the command; returns its exit status, or 2 where the programs are missing."""
    try:
        with running() as (postgres, queue):
            environment = {**os.environ, "DATABASE_URL": postgres.url, "REDIS_URL": queue.url}
            process = subprocess.Popen(sys.argv[1:], env=environment)  # noqa: S603 - our caller's
            # It is to end in order, and we after it. Ctrl-C reaches it by itself.
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            signal.signal(signal.SIGTERM, lambda *_: process.send_signal(signal.SIGINT))
            return process.wait()
    except MissingError as error:
        print(f"error: {error}", file=sys.stderr)
        print("hint: on Debian: apt-get install postgresql redis-server", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
