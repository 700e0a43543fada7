"""What can go wrong, in one tree: each class has an exit code, each error a stable code, a sentence and a hint.

The command prints `error:` and `hint:` and ends with the exit code of the class; docs/agent.md carries the same table
and a test compares them. Errors of hospintel_core keep their own codes and get their exit code from CORE_EXIT_CODES.
"""

import errno
import re
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar, Final, NamedTuple

from hospintel_core import errors as core

INTERNAL_EXIT_CODE: Final = 1
INTERRUPTED_EXIT_CODE: Final = 130


class AgentError(Exception):
    """An expected failure: `code` is stable, `detail` one plain sentence, `hint` what to do about it (may be empty)."""

    exit_code: ClassVar[int] = INTERNAL_EXIT_CODE
    codes: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, code: str, detail: str, hint: str = "") -> None:
        if self.codes and code not in self.codes:
            message = f"{type(self).__name__} does not know the code {code}"
            raise ValueError(message)
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.hint = hint


class SetupError(AgentError):
    """The agent's home, configuration or key does not allow the command."""

    exit_code = 3
    codes = frozenset(
        {
            "not_enrolled",
            "already_enrolled",
            "config_broken",
            "home_busy",
            "home_exposed",
            "no_data_path",
            "bad_hub_url",
            "proxy_unusable",
            "output_unwritable",
        }
    )


class HubUnreachableError(AgentError):
    """No usable answer from the hub; the same call may succeed later. `retry_after` (seconds) is the hub's wish."""

    exit_code = 4
    codes = frozenset(
        {
            "hub_unreachable",
            "hub_timeout",
            "hub_busy",
            "connection_cut",
            "proxy_failed",
            "tls_untrusted",
            "tls_failed",
            "insecure_hub",
        }
    )

    def __init__(self, code: str, detail: str, hint: str = "", *, retry_after: float | None = None) -> None:
        super().__init__(code, detail, hint)
        self.retry_after = retry_after


class HubRefusedError(AgentError):
    """The hub understood and said no. `code` is the hub's own; `body` its whole JSON answer."""

    exit_code = 5

    def __init__(
        self, code: str, detail: str, hint: str = "", *, status: int = 0, body: dict[str, Any] | None = None
    ) -> None:
        super().__init__(code, detail, hint)
        self.status = status
        self.body = body or {}


class DataError(AgentError):
    """The hospital's own scans do not allow training."""

    exit_code = 6
    codes = frozenset({"too_few_scans", "data_missing", "data_changed"})


class UntrustedError(AgentError):
    """Something that the hub, or whoever answers in its place, sent was not what it must be; nothing of it was used."""

    exit_code = 7
    codes = frozenset(
        {
            "redirect_refused",
            "answer_malformed",
            "answer_too_large",
            "audit_behind",
            "audit_forked",
            "hub_fingerprint",
            "manifest_federation",
            "manifest_future",
            "manifest_replayed",
            "manifest_schema",
            "manifest_keys",
            "model_digest",
            "model_too_large",
        }
    )


class StorageError(AgentError):
    """The agent's home cannot be written."""

    exit_code = 8
    codes = frozenset({"disk_full", "home_not_writable", "storage_failed", "journal_broken"})


class NoTaskError(AgentError):
    """`once` waited its whole --timeout and the hub had nothing to do; or `report` knows no such round."""

    exit_code = 9
    codes = frozenset({"no_task", "no_round"})


class ChecksFailedError(AgentError):
    """`doctor` found something that keeps the agent from taking part."""

    exit_code = 10
    codes = frozenset({"checks_failed"})


CORE_EXIT_CODES: Final[tuple[tuple[type[core.CoreError], int], ...]] = (
    (core.KeyFileError, SetupError.exit_code),
    (core.BaseWeightsError, SetupError.exit_code),
    (core.DatasetError, DataError.exit_code),
    (core.ImageError, DataError.exit_code),
    (core.TrainingError, DataError.exit_code),
    # What is left (signatures, plans, weights, codecs, architectures, envelopes) judges what the hub sent.
    (core.CoreError, UntrustedError.exit_code),
)

# The hub's answers that no later attempt of the service can change: a person has to act.
FINAL_REFUSALS: Final = frozenset({"token_invalid", "agent_revoked"})
HUB_HINTS: Final[dict[str, str]] = {
    "token_invalid": "unknown to the hub: ask its administrator for a new code and enrol into a new --home",
    "agent_revoked": "this agent was revoked: ask the hub's administrator for a new code and enrol into a new --home",
    "code_unknown": "check the code for typing errors, or ask the hub's administrator for a new one",
    "code_used": "each code works once: ask the hub's administrator for a new one",
    "code_expired": "codes live for an hour: ask the hub's administrator for a new one",
    "federation_unknown": "the hospital is not (or no longer) part of this federation: ask the hub's administrator",
    "too_many_attempts": "nothing to do: the next round starts afresh",
}

# What helps against the core's refusals that have no hint of their own, for who runs an agent.
_KEY_GONE: Final = "restore identity.pem and config.json from a backup, or enrol anew into another --home"
CORE_HINTS: Final[dict[str, str]] = {
    "key_missing": _KEY_GONE,
    "key_unreadable": _KEY_GONE,
    "key_kind": _KEY_GONE,
    "dataset_missing": "give the folder or zip file of class folders as --data, with its whole path",
    "dataset_unreadable": "unpack the zip file and give the folder as --data",
    "no_scans": "put PNG, JPEG or DICOM scans into the class folders",
    "archive_too_large": "unpack the zip file and give the folder as --data",
    "too_many_entries": "unpack the zip file and give the folder as --data",
    "unsafe_entry": "unpack the zip file and give the folder as --data",
    "duplicate_entry": "unpack the zip file and give the folder as --data",
    "unknown_architecture": "update the agent to the hub's version",
    "unknown_codec": "update the agent to the hub's version",
}


class Failure(NamedTuple):
    """How a failure is shown and which exit code it ends the command with."""

    exit_code: int
    code: str
    detail: str
    hint: str

    @property
    def lines(self) -> list[str]:
        """`error:` and, where there is one, `hint:`."""
        lines = [f"error: {self.detail} ({self.code})"]
        return [*lines, f"hint: {self.hint}"] if self.hint else lines


def describe(error: AgentError | core.CoreError) -> Failure:
    """The texts and the exit code of an expected failure."""
    if isinstance(error, AgentError):
        return Failure(error.exit_code, error.code, error.detail, error.hint or HUB_HINTS.get(error.code, ""))
    exit_code = next(number for kind, number in CORE_EXIT_CODES if isinstance(error, kind))
    return Failure(exit_code, error.code, error.detail, error.hint or CORE_HINTS.get(error.code, ""))


def needs_a_person(error: AgentError | core.CoreError) -> bool:
    """Whether the service should end: trying again cannot help until somebody changes something here or at the hub."""
    if isinstance(error, HubRefusedError):
        return error.code in FINAL_REFUSALS
    if isinstance(error, DataError):
        return error.code == "too_few_scans"
    return isinstance(error, SetupError | StorageError | core.KeyFileError | core.BaseWeightsError)


_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


@contextmanager
def storing(what: str) -> Iterator[None]:
    """Turn failures to write into the agent's home into StorageError; `what` finishes "could not write ...".

    Raises:
        StorageError: disk_full, home_not_writable or storage_failed.
    """
    try:
        yield
    except (OSError, sqlite3.OperationalError) as error:
        raise storage_error(error, what) from error


def storage_error(error: OSError | sqlite3.OperationalError, what: str) -> StorageError:
    """The StorageError for an error of the operating system or of SQLite."""
    number = error.errno if isinstance(error, OSError) else None
    if number in _FULL or "disk is full" in str(error):
        return StorageError(
            "disk_full",
            f"could not write {what}: the disk or quota is full",
            "make room and start the agent again: it goes on where it stopped",
        )
    if isinstance(error, PermissionError) or "readonly" in str(error) or "unable to open" in str(error):
        return StorageError(
            "home_not_writable", f"could not write {what}: {error}", "the agent's user must own the agent's home"
        )
    return StorageError("storage_failed", f"could not write {what}: {error}", "check the disk under the agent's home")


_UNPRINTABLE: Final = re.compile(r"[^\x20-\x7e\u00a0-\U0010ffff]")


def printable(text: str, limit: int = 300) -> str:
    """Text from the network made safe for a terminal and a log line: no control characters, at most `limit` long."""
    return _UNPRINTABLE.sub("?", text)[:limit]
