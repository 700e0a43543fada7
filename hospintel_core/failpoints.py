"""Named places at which a test makes a process die, fail or stand still. In a hub that nobody tests they do nothing.

After etcd's gofail: the names stand in the code itself, before and after each step that is not undone, and a test says
by the environment (or by a file, to a process that runs) what happens at which of them. `arm` refuses that without the
switch for tests; until it is called a point is one comparison.
"""

import os
import signal
import time
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from hospintel_core.errors import CoreError

# `name:action[:passes],...`; the folder of the markers, and of what is armed later; the switch for tests.
VARIABLE, FOLDER, SWITCH = "HOSPINTEL_FAILPOINT", "HOSPINTEL_FAILPOINT_FOLDER", "HOSPINTEL_TESTING"
LOOK_SECONDS = 0.05

# Name -> what is done there and what is not.
POINTS: Mapping[str, str] = {
    "upload.whole": "all parts of an update are here, nothing has been checked",
    "receive.kept": "the ciphertext lies under its id, there is no row",
    "receive.before_commit": "the row is written, not committed",
    "receive.committed": "the update is received, the agent has no answer and no worker knows",
    "inspect.begun": "a worker has taken the update",
    "inspect.before_commit": "the update is accepted, not committed",
    "inspect.committed": "the update is accepted, nobody has looked whether the round closes",
    "refuse.before_commit": "the update is refused, not committed",
    "refuse.committed": "the update is refused, its ciphertext is here",
    "close.before_commit": "the round is closed, not committed",
    "close.committed": "the round is closed, nothing is summed",
    "aggregate.begun": "a worker has taken the closed round",
    "aggregate.summed": "the new head is computed, not stored",
    "aggregate.stored": "the new head is stored, there is no version",
    "aggregate.before_commit": "candidate and consumed updates are written, not committed",
    "aggregate.committed": "the candidate is there, nobody has judged it",
    "gate.begun": "a worker has taken the candidate",
    "evaluation_open.before_commit": "the agents' evaluation is opened, not committed",
    "evaluation_open.committed": "the agents' evaluation is open",
    "report.before_commit": "an agent's report is written, not committed",
    "report.committed": "an agent's report is kept, the agent has no answer",
    "evaluation_end.before_commit": "the evaluation is ended, not committed",
    "evaluation_end.committed": "the evaluation is ended, nothing has been decided",
    "publish.before_commit": "version, number and end of the round are written, not committed",
    "publish.committed": "the version is published, what follows has not begun",
    "hold.before_commit": "the version is held, not committed",
    "hold.committed": "the version is held, what follows has not begun",
    "run_end.before_commit": "the run is ended, not committed",
    "run_end.committed": "the run is ended",
    "open.key_made": "the key of the next round lies there, there is no round",
    "open.before_commit": "the next round is written, not committed",
    "open.committed": "the next round is open",
    "finish.begun": "the round has ended, its ciphertexts are here",
    "finish.discarded": "the ciphertexts of the round are gone, its key is here",
    "finish.recorded": "the audit has the erasure, the key is here",
    "finish.erased": "the round's key is gone, the audit is not signed",
    "write_model.written": "the Keras file is there, without its note",
    "write_model.noted": "the Keras file has its note, the audit does not have it",
    "write_model.committed": "the Keras file is written",
    "export_model.kept": "base and head for the page are there, without their description",
    "export_model.described": "the description is there, the audit does not have it",
    "audit.before_append": "a transaction is done but for its entries",
    "audit.appended": "a transaction has its entries, it is not committed",
    "audit.committed": "a transaction is committed, what was to follow has not been queued",
    "validate.before_commit": "a version is measured on the validation set, not committed",
    "prepare.begun": "a worker has taken the validation set",
    "prepare.kept": "the features of the validation set lie sealed beside it, it is not in use",
    "prepare.before_commit": "the validation set is in use, not committed",
    "prepare.committed": "the validation set is in use, no version has been measured",
    "verify.before_commit": "the audit is verified, the result is not committed",
    "train.begun": "a worker has taken the job",
    "train.scan_read": "a scan of the job is read",
    "train.epoch": "an epoch is trained, its progress is not told",
    "train.trained": "the job's head is trained, not stored",
    "train.stored": "the job's head is stored, the job does not know",
    "train.before_commit": "the job is done, not committed",
    "train.committed": "the job is done, its scans are here",
    "vault.key_erased": "the key of a job's or a validation set's scans is gone, the scans are here",
    "erase.scans_gone": "the scans of a job are gone, the audit does not have it",
    "propose.before_commit": "a proposal is written, not committed",
    "propose.committed": "a proposal waits for review, its author has no answer",
    "propose_job.begun": "a worker has taken the proposal of a job that is done",
    "upload_model.kept": "an uploaded model lies in quarantine, there is no row",
    "upload_model.committed": "an uploaded model is received, no worker knows",
    "read_model.begun": "a worker has taken the uploaded model",
    "read_model.stored": "the head of the uploaded model is stored, there is no proposal",
    "read_model.decided": "the uploaded model is decided, its file is here",
    "lease_take.before_commit": "the lease is taken, not committed",
    "lease_take.committed": "the lease is taken, its holder has no answer",
    "lease_end.before_commit": "the lease is ended, not committed",
    "lease_end.committed": "the lease is ended",
    "agent.head_kept": "the agent has the round's model",
    "agent.delta_kept": "the agent keeps the trained delta, its journal does not know",
    "agent.sealed_kept": "the agent keeps the sealed update, its journal does not know",
    "agent.part_sent": "the hub has taken a part, the agent has its answer",
    "agent.report_sent": "the hub has a report, the agent's journal does not know",
    "agent.before_commit": "the agent's journal is written, not committed",
    "agent.committed": "the agent's journal is committed",
}


class Action(StrEnum):
    """What happens at an armed point."""

    KILL = "kill"
    ERROR = "error"
    SLEEP = "sleep"


class ArmedError(CoreError):
    """Failpoints that were armed where that is not allowed, or by a text that says nothing."""

    codes = frozenset({"failpoint_refused", "failpoint_unknown"})


class FailpointError(Exception):
    """What the action `error` raises: nobody expects it."""


@dataclass(frozen=True)
class Order:
    """What happens at a point, after so many have passed it."""

    action: Action
    passes: int = 0

    @classmethod
    def parse(cls, text: str) -> "Order":
        """Return what `action[:passes]` says. Raises ArmedError."""
        action, _, passes = text.partition(":")
        try:
            return cls(Action(action.strip()), int(passes or 0))
        except ValueError as error:
            detail = f"{text!r} is no action of a failpoint: {', '.join(Action)}, with :passes where some may pass."
            raise ArmedError("failpoint_unknown", detail) from error


@dataclass(frozen=True)
class _Armed:
    folder: Path
    orders: Mapping[str, Order]

    def reach(self, name: str) -> None:
        order = self.orders.get(name) or self._later(name)
        if order is None or self._count(name) != order.passes + 1:
            return
        note = self.folder / f"{name}.pid"
        draft = note.with_suffix(f".{os.getpid()}")
        draft.write_text(str(os.getpid()))
        draft.replace(note)
        if order.action == Action.ERROR:
            raise FailpointError(name)
        if order.action == Action.KILL:
            os.kill(os.getpid(), signal.SIGKILL)
        free = self.folder / f"{name}.free"
        while not free.exists():
            time.sleep(LOOK_SECONDS)
        free.unlink()

    def _later(self, name: str) -> Order | None:
        """Return what a file says that was put into the folder after the process had begun."""
        try:
            return Order.parse((self.folder / name).read_text())
        except FileNotFoundError:
            return None

    def _count(self, name: str) -> int:
        """Count who comes by, over all processes: each appends a byte, and where it lies is whose turn it was.

        So a point fires once: a process that was started again passes.
        """
        handle = os.open(self.folder / f"{name}.hits", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            os.write(handle, b".")
            return os.lseek(handle, 0, os.SEEK_CUR)
        finally:
            os.close(handle)


_armed: _Armed | None = None


def reach(name: str) -> None:
    """Do what is armed at this point, which is nothing outside tests.

    Raises:
        FailpointError: the point is armed with `error`.
    """
    if _armed is not None:
        _armed.reach(name)


def arm(environment: Mapping[str, str], *, loopback: bool = True) -> bool:
    """Read from the environment what happens at which point. Returns whether anything can happen.

    Args:
        environment: with HOSPINTEL_FAILPOINT (`name:kill|error|sleep[:passes],...`) and HOSPINTEL_FAILPOINT_FOLDER;
            a file of a point's name in that folder, with `action[:passes]` in it, arms the point later.
        loopback: whether the process can be reached from its own machine alone.

    Raises:
        ArmedError: `failpoint_refused` without HOSPINTEL_TESTING=1 or where others can reach the process;
            `failpoint_unknown` for a name or an action that does not exist, or without a folder.
    """
    global _armed  # noqa: PLW0603 - a process is armed or not
    spec, folder = environment.get(VARIABLE, ""), environment.get(FOLDER, "")
    if not spec and not folder:
        return False
    if environment.get(SWITCH) != "1" or not loopback:
        detail = f"{VARIABLE} and {FOLDER} make the program die at chosen places."
        hint = f"Unset them. Tests set {SWITCH}=1, on a loopback address."
        raise ArmedError("failpoint_refused", detail, hint)
    if not Path(folder).is_dir():
        raise ArmedError("failpoint_unknown", f"{FOLDER} must name the folder of the failpoints' markers.")
    orders = {}
    for item in filter(None, map(str.strip, spec.split(","))):
        name, _, order = item.partition(":")
        if name not in POINTS:
            raise ArmedError("failpoint_unknown", f"There is no failpoint {name!r}.")
        orders[name] = Order.parse(order)
    _armed = _Armed(Path(folder), orders)
    return True
