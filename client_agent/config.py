"""The agent's home: which files lie in it, and config.json, written at enrolment and when the hub's key changes."""

import base64
import binascii
import json
import os
import secrets
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import MISSING, asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import platformdirs
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from client_agent.errors import SetupError, storage_error, storing
from client_agent.route import check_hub_url
from hospintel_core import files, signing
from hospintel_core.errors import SignatureError

FORMAT: Final = 1


@dataclass(frozen=True)
class Home:
    """The folder that holds everything the agent keeps; only its owner can look into it."""

    folder: Path

    @classmethod
    def default(cls) -> "Home":
        """The home of the user who runs the agent."""
        return cls(platformdirs.user_data_path("hospintel-agent", appauthor=False))

    @property
    def config(self) -> Path:
        """What was agreed at enrolment, the token included."""
        return self.folder / "config.json"

    @property
    def key(self) -> Path:
        """The Ed25519 key that signs updates and reports; it never leaves."""
        return self.folder / "identity.pem"

    @property
    def journal(self) -> Path:
        """The SQLite file with one row a task."""
        return self.folder / "journal.sqlite3"

    @property
    def models(self) -> Path:
        """Downloaded models by digest."""
        return self.folder / "models"

    @property
    def rounds(self) -> Path:
        """Trained deltas and sealed updates of open rounds."""
        return self.folder / "rounds"

    @property
    def features(self) -> Path:
        """The feature cache: may be deleted at any time."""
        return self.folder / "features"

    @property
    def checkpoint(self) -> Path:
        """The hub's last signed checkpoint that was seen."""
        return self.folder / "checkpoint.json"

    @property
    def contradicted(self) -> Path:
        """Signed checkpoints that the hub's audit no longer agrees with, one a line."""
        return self.folder / "contradicted.jsonl"

    def create(self) -> None:
        """Make the folders, closed to others.

        Raises:
            SetupError: home_exposed.
            StorageError: home_not_writable, disk_full.
        """
        with storing("the agent's home"):
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self.require_private()
            for folder in (self.models, self.rounds):
                folder.mkdir(exist_ok=True, mode=0o700)

    def require_private(self) -> None:
        """Return where nobody else may use the folder, or where there is none.

        Raises:
            SetupError: home_exposed.
        """
        try:
            _require_private(self.folder, self.folder.stat())
        except FileNotFoundError:
            return
        except PermissionError as error:
            raise _not_mine(self.folder) from error

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep a second agent out of this home: both would work on the same round.

        Raises:
            SetupError: home_busy.
        """
        # An SQLite lock works on every system, and the system frees it when the process dies.
        with storing("the agent's home"):
            lock = sqlite3.connect(self.folder / "lock.sqlite3", timeout=0, isolation_level=None)
        with closing(lock):
            try:
                lock.execute("BEGIN EXCLUSIVE")
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode != sqlite3.SQLITE_BUSY:
                    raise storage_error(error, "the agent's home") from error
                raise SetupError(
                    "home_busy",
                    f"another agent works with the home {self.folder}",
                    "stop it first, or give this one a --home of its own",
                ) from error
            yield


@dataclass(frozen=True)
class Config:
    """What enrolment agreed on. `ca` and `data` are absolute paths, or empty.

    `hub_identity` is the pinned key (raw, base64); `first_identity` the enrolment's, empty where it is the same.
    """

    hub: str
    agent_id: UUID
    token: str
    hospital: str
    federation: str
    hub_identity: str
    ca: str = ""
    data: str = ""
    first_identity: str = ""

    @property
    def identity(self) -> Ed25519PublicKey:
        """The hub's pinned identity key."""
        return _key(self.hub_identity)

    @property
    def identity_at_enrolment(self) -> Ed25519PublicKey:
        """The identity that people compared at enrolment; the pinned one follows it."""
        return _key(self.first_identity or self.hub_identity)

    @property
    def ca_path(self) -> Path | None:
        """The CA file, None for the machine's own roots."""
        return Path(self.ca) if self.ca else None

    def save(self, home: Home) -> None:
        """Write config.json, 0600, whole or not at all; never over an existing one.

        Raises:
            SetupError: already_enrolled.
            StorageError: the home cannot be written.
        """
        if home.config.exists():
            raise already_enrolled(home)
        _write(self, home)

    def repinned(self, home: Home, identity: Ed25519PublicKey) -> "Config":
        """Pin another identity of the hub, in config.json too; the caller has checked that it follows the pinned one.

        Raises:
            StorageError: the home cannot be written; config.json is as before.
        """
        changed = replace(
            self,
            hub_identity=base64.b64encode(signing.public_raw(identity)).decode("ascii"),
            first_identity=self.first_identity or self.hub_identity,
        )
        _write(changed, home)
        return changed


# Files of agents that knew fewer fields are read too.
_REQUIRED: Final = frozenset(field.name for field in fields(Config) if field.default is MISSING)


def _write(config: Config, home: Home) -> None:
    values = asdict(config) | {"format": FORMAT, "agent_id": str(config.agent_id)}
    with storing("config.json"):
        write_private(home.config, json.dumps(values, indent=2).encode() + b"\n")


def _key(raw: str) -> Ed25519PublicKey:
    return signing.ed25519_from_raw(base64.b64decode(raw, validate=True))


def already_enrolled(home: Home) -> SetupError:
    """The error for enrolling twice into one home."""
    return SetupError(
        "already_enrolled",
        f"an agent is enrolled in {home.folder}",
        "use another --home for another agent; an enrolment is never overwritten",
    )


def load_config(home: Home) -> Config:
    """Read config.json.

    Raises:
        SetupError: not_enrolled, config_broken, home_exposed.
    """
    try:
        with files.open_regular(home.config) as file:
            _require_private(home.config, os.fstat(file.fileno()))
            values = json.loads(file.read())
    except FileNotFoundError as error:
        raise SetupError(
            "not_enrolled",
            f"no agent is enrolled in {home.folder}",
            "run: hospintel-agent enrol --hub URL --code - (and the same --home, if you use one)",
        ) from error
    except PermissionError as error:
        raise _not_mine(home.config) from error
    except (OSError, ValueError, RecursionError) as error:
        raise _broken(f"it cannot be read: {error}") from error
    return _parse(values)


def _parse(values: object) -> Config:
    if not isinstance(values, dict) or values.pop("format", None) != FORMAT:
        raise _broken("it has another format than this version of the agent writes")
    names = {field.name for field in fields(Config)}
    if not _REQUIRED <= values.keys() <= names or not all(isinstance(value, str) for value in values.values()):
        raise _broken("its fields are not the expected ones")
    found: dict[str, Any] = values
    try:
        config = Config(**found | {"agent_id": UUID(found["agent_id"])})
        check_hub_url(config.hub)
        _ = config.identity, config.identity_at_enrolment
    except (ValueError, binascii.Error, SignatureError, SetupError) as error:
        raise _broken(str(error)) from error
    return config


def _require_private(path: Path, status: os.stat_result) -> None:
    """Whoever else may write here chooses the hub and its identity; whoever reads has the token."""
    exposed = files.exposure(status)
    if exposed:
        mode = "700" if path.is_dir() else "600"
        raise SetupError(
            "home_exposed",
            f"{path} is not closed to others: {exposed}",
            f"run the agent as its owner, after chmod {mode} {path} (systemd: StateDirectoryMode=0700)",
        )


def _not_mine(path: Path) -> SetupError:
    return SetupError("home_exposed", f"{path} is not this user's", "run this as the user who enrolled the agent")


def _broken(why: str) -> SetupError:
    return SetupError(
        "config_broken", f"config.json cannot be used: {why}", "restore it from a backup, or enrol into another --home"
    )


def write_private(path: Path, data: bytes) -> None:
    """Write `data` to `path`, 0600, so that after any crash there is either the old file or the whole new one.

    Raises:
        OSError: as the system says; the draft is removed.
    """
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except BaseException:
        with suppress(OSError):
            draft.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make a rename or removal in `folder` survive a power failure."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
