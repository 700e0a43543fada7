"""The service loop: long poll, take part, tell, and at once again. What fails goes on from the journal's state."""

import json
import logging
import math
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Final

from client_agent.afterwards import look_back
from client_agent.agent import Agent
from client_agent.clock import Backoff
from client_agent.errors import (
    AgentError,
    HubRefusedError,
    HubUnreachableError,
    NoTaskError,
    StorageError,
    UntrustedError,
    describe,
    needs_a_person,
)
from client_agent.hub import LONG_POLL, Idle
from client_agent.identity import follow
from client_agent.journal import ASKED_OTHERS, Row, State
from client_agent.push import discard, learn, seal, upload
from client_agent.task import Task, open_task
from client_agent.train import evaluate, train
from client_agent.witness import Witness
from hospintel_core.errors import CoreError
from hospintel_core.plan import SignedManifest

log = logging.getLogger(__name__)

Step = Callable[[Agent, Task, Row], Row]
STEPS: Final[Mapping[State, Step]] = {
    State.TASK: train,
    State.TRAINED: seal,
    State.SEALED: upload,
    State.UPLOADED: learn,
}
# Waits before a round that has ended here is taken up again: a hub that keeps offering it must not keep us busy.
_REOFFER_BASE: Final = 1.0
_REOFFER_CAP: Final = 30.0


class Service:
    """An agent that takes part in whatever its federation asks for."""

    def __init__(self, agent: Agent) -> None:
        self._agent = agent
        self._reoffered = Backoff(agent.clock, base=_REOFFER_BASE, cap=_REOFFER_CAP)
        # When the hub was first found to be away, by the clock that never runs backwards.
        self._away_since: float | None = None
        self._witness = Witness(agent)

    def run(self) -> None:
        """Serve until StopRequested, or until an error that only a person can remove.

        Raises:
            AgentError, CoreError: see `needs_a_person`.
        """
        self._prepare()
        while True:
            try:
                row = self._turn(LONG_POLL)
                look_back(self._agent, row)
            except (AgentError, CoreError) as error:
                if needs_a_person(error):
                    raise
                self._tell_and_wait(error)

    def once(self, timeout: float | None) -> Row:
        """Take part in one task, waiting for it at most `timeout` seconds (None: for ever); returns its final row.

        Raises:
            NoTaskError: no_task.
            HubUnreachableError: the hub gave no task within `timeout` because it was away.
            AgentError, CoreError: every other failure, at once.
        """
        self._prepare()
        clock = self._agent.clock
        until = math.inf if timeout is None else clock.monotonic() + timeout
        away: HubUnreachableError | None = None
        while True:
            left = until - clock.monotonic()
            try:
                row = self._turn(max(0, math.ceil(min(LONG_POLL, left))))
                away = None
            except HubUnreachableError as error:
                row, away = None, error
                self._tell_and_wait(error)
            if row is not None:
                return row
            # A task that has begun has no time limit any more.
            if clock.monotonic() >= until and not self._open_rows():
                raise away or NoTaskError("no_task", f"the hub had no task within {timeout:g} s")

    def _prepare(self) -> None:
        """Look at the scans, and remove files of tasks that ended in the moment of a crash."""
        self._agent.scans.check()
        needed = {str(row.round_id) for row in self._agent.journal.unfinished()}
        for path in self._agent.home.rounds.iterdir():
            if path.stem not in needed:
                path.unlink(missing_ok=True)

    def _open_rows(self) -> list[Row]:
        """Tasks whose training is done: they go on without being offered again."""
        return [row for row in self._agent.journal.unfinished() if row.state != State.TASK]

    def _turn(self, wait: int) -> Row | None:
        """Finish what is open, else poll once and do what comes. Returns a task that ended, or None."""
        rows = self._open_rows()
        if rows:
            return self._continue(rows[0])
        signed = self._poll(wait)
        if signed is None:
            return None
        follow(self._agent, signed)
        task = open_task(signed, self._agent.config, self._agent.clock.now_ms())
        row = self._begin(task, signed)
        return None if row is None else self._take_part(task, row)

    def _poll(self, wait: int) -> SignedManifest | None:
        """One long poll; afterwards what is left of the hub's Retry-After."""
        agent = self._agent
        self._witness.look()
        asked = agent.clock.monotonic()
        found = agent.hub.task(wait)
        self._answered()
        if not isinstance(found, Idle):
            # No reset of the backoff yet: a task that is refused here comes again at once, and must not keep us busy.
            return found
        agent.backoff.reset()
        self._note_others(found)
        # Counted from the request: a poll that waited its time has kept the hub's distance, and asks again at once.
        rest = (1.0 if found.retry_after is None else found.retry_after) - (agent.clock.monotonic() - asked)
        if rest > 0:
            agent.clock.wait(rest)
        return None

    def _note_others(self, idle: Idle) -> None:
        """Write down the rounds that asked other agents, so that nobody here wonders why nothing was trained."""
        for other in idle.others:
            federation = self._agent.config.federation
            if self._agent.journal.pass_over(
                round_id=other.round_id, federation=federation, number=other.number, run_id=other.run_id
            ):
                log.info("round %d: %s", other.number, ASKED_OTHERS)

    def _begin(self, task: Task, signed: SignedManifest) -> Row | None:
        """The journal's row of an offered task; None where there is nothing (more) to do for it."""
        agent, manifest = self._agent, task.manifest
        _require_newest(manifest.issued_ms, agent.journal.newest_issued_ms())
        known = agent.journal.find(manifest.round_id, manifest.kind)
        if known is not None and known.final:
            self._reoffered.wait()
            if known.state == State.REFUSED:
                return None
            log.info("%s: the hub asks again", task.name)
        else:
            self._reoffered.reset()
        row = agent.journal.begin(
            round_id=manifest.round_id,
            kind=manifest.kind,
            federation=manifest.federation,
            number=manifest.round,
            manifest=json.dumps(signed.to_wire()),
            run_id=str(manifest.run_id),
            version=manifest.version,
            model=manifest.model,
            issued_ms=manifest.issued_ms,
        )
        for other in agent.journal.unfinished():
            # The hub offers one task at a time: what it offered before is over.
            if (other.round_id, other.kind) != (row.round_id, row.kind) and other.state == State.TASK:
                agent.journal.advance(other, State.EXPIRED, code="round_closed", detail="the hub went on without it")
        if task.past_deadline(agent.clock.now_ms()):
            return agent.journal.advance(row, State.EXPIRED, code="round_closed", detail="its deadline is over")
        log.info("%s: taking part (%s)", task.name, manifest.architecture)
        return row

    def _continue(self, row: Row) -> Row:
        """Go on with a task from the journal."""
        try:
            signed = SignedManifest.from_wire(json.loads(row.manifest))
            task = open_task(signed, self._agent.config, self._agent.clock.now_ms())
        except (UntrustedError, CoreError) as error:
            # Believed once, not any more: another version of the agent, or a clock that was set.
            log.warning("a task in the journal cannot go on: %s", error.detail)
            row = self._agent.journal.advance(row, State.EXPIRED, code=error.code, detail=error.detail)
            discard(self._agent, row)
            return row
        return self._take_part(task, row)

    def _take_part(self, task: Task, row: Row) -> Row:
        """Step by step to the end of the task; an exception leaves the journal at the last step that succeeded."""
        agent = self._agent
        up, down = agent.hub.http.bytes_up, agent.hub.http.bytes_down
        try:
            while not row.final:
                agent.stop.check()
                step = evaluate if row.kind == "evaluate" else STEPS[row.state]
                row = step(agent, task, row)
                self._answered()
                agent.backoff.reset()
        finally:
            http = agent.hub.http
            # An error on its way out is worth more than the count.
            with suppress(StorageError):
                agent.journal.count_bytes(row, up=http.bytes_up - up, down=http.bytes_down - down)
        discard(agent, row)
        _tell_end(task, row)
        return row

    def _answered(self) -> None:
        """Log the end of an outage."""
        if self._away_since is not None:
            log.info("the hub answers again, after %.0f s", self._agent.clock.monotonic() - self._away_since)
            self._away_since = None

    def _tell_and_wait(self, error: AgentError | CoreError) -> None:
        """Log a failure and wait before the next try."""
        away = isinstance(error, HubUnreachableError)
        if not away:
            self._away_since = None
        elif self._away_since is None:
            self._away_since = self._agent.clock.monotonic()
        delay = self._agent.backoff.delay(error.retry_after if isinstance(error, HubUnreachableError) else None)
        level = logging.WARNING if away else logging.ERROR
        failure = describe(error)
        hint = f"; {failure.hint}" if failure.hint and self._agent.backoff.failures == 1 else ""
        log.log(level, "%s (%s)%s; next try in %.1f s", failure.detail, failure.code, hint, delay)
        self._agent.clock.wait(delay)


def _require_newest(issued_ms: int, obeyed_ms: int) -> None:
    """A hub never goes back to an older task: one that comes again may be meant for keys that were stolen since."""
    if issued_ms < obeyed_ms:
        raise UntrustedError(
            "manifest_replayed",
            f"the task was signed {(obeyed_ms - issued_ms) / 1000:.0f} s before one that was obeyed already",
            "if the hub was restored from a backup, its administrator must abort the run and start a new one",
        )


def outcome(row: Row) -> None:
    """Return where a task ended well.

    Raises:
        HubRefusedError: the hub refused the update or went on without it.
    """
    if row.state != State.ACCEPTED:
        raise HubRefusedError(row.code, f"round {row.number}: {row.detail}")


def _tell_end(task: Task, row: Row) -> None:
    if row.state == State.ACCEPTED:
        log.info("%s: accepted", task.name)
    elif row.state == State.EXPIRED:
        log.info("%s: over, %s", task.name, row.detail)
    else:
        log.error("%s: refused for good: %s (%s)", task.name, row.detail, row.code)
