"""The life of rounds as a state machine: whatever happens in whatever order, what must hold holds after each step."""

import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

import round_invariants as must
import time_machine
from django.db import connections
from django.utils import timezone
from hub_driver import Hub
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from proposing import proposed
from site_agent import SLUG, SiteAgent, delta, now_ms, payload, report
from sudden_end import dies
from world import Snapshot, enrol_agent

from apps.audit import denials
from apps.audit.api import Conflict
from apps.federation import tasks
from apps.federation.api.task import find_task
from apps.federation.models import Agent, Federation, ModelVersion, Round, Run, Update
from apps.federation.pipeline import attempts, decide, keys, revoke, runs, tick
from apps.federation.pipeline.receive import CLOCK_WINDOW_MS
from apps.federation.pipeline.step import Next, Refusal
from hospintel_core import weights
from hospintel_core.plan import Manifest, SignedManifest, open_manifest

WHO = "user:1"
MINUTE = 60
PLACES = st.integers(0, 5)
SEEDS = st.integers(0, 3)
SAMPLES = st.sampled_from([1, 100, 333])
# Before which durable step a process dies; most do what they do in fewer.
DEATHS = st.sampled_from([0, 1, 1, 2, 2, 3, 3, 4, 5, 6, 7, 9, 11, 14])


@dataclass(frozen=True)
class Sent:
    """A sealed update: only who sent it and this test know what is in it."""

    agent: SiteAgent
    round_id: UUID
    sealed: bytes
    seed: int
    samples: int


class RoundMachine(RuleBasedStateMachine):
    """A hub in a folder of its own, agents, an administrator, a queue that loses and repeats, and a clock."""

    def __init__(self, snapshot: Snapshot, settings: Any, reached: Counter[str]) -> None:
        super().__init__()
        self.reached = reached
        self._ends = ExitStack()
        folder = Path(self._ends.enter_context(tempfile.TemporaryDirectory(prefix="machine-")))
        settings.KEYS, settings.UPLOAD_DIR = snapshot.folder / "keys", folder / "uploads"
        settings.MODEL_DIR, self._queue_folder = folder / "models", settings.QUEUE_DIR / "messages"
        for left in (settings.KEYS / "rounds").glob("*"):
            left.unlink()
        world = self._ends.enter_context(snapshot.restored(folder))
        self._forget()
        self._clock = self._ends.enter_context(time_machine.travel(timezone.now(), tick=False))
        self.hub = Hub(Federation.objects.get())
        self.cast = world.cast
        self.agents = [SiteAgent(credentials) for name, credentials in world.agents.items() if name != "island"]
        self.sent: dict[str, Sent] = {}
        self.queue: list[dict[str, str]] = []
        self.history = must.History()
        self.trains_in_the_end = False

    @initialize(
        quorum=st.sampled_from([0, 0, 2]),
        momentum=st.sampled_from([0, 0.5]),
        rounds=st.integers(1, 3),
        trains_in_the_end=st.sampled_from([False, False, True]),
    )
    def begin(self, quorum: int, momentum: float, rounds: int, trains_in_the_end: bool) -> None:
        self.trains_in_the_end = trains_in_the_end
        self.hub.configure(
            evaluate_quorum=quorum, server_momentum=momentum, grace=MINUTE, deadline=15 * MINUTE, seen_within=5 * MINUTE
        )
        self.start(rounds)
        for place in range(len(self.agents)):
            self.poll(place)
        self.work()

    # What the world does.

    @rule(seconds=st.sampled_from([1, 16, MINUTE + 10, 5 * MINUTE, 10 * MINUTE, -10 * MINUTE]))
    def time_goes(self, seconds: int) -> None:
        self._clock.shift(seconds)

    @rule()
    def restart(self) -> None:
        """All processes of the hub end and begin again, and the broker has lost everything."""
        self._forget()
        self.queue.clear()

    # What the queue and the workers do.

    @rule()
    def work(self) -> None:
        while self._waiting():
            tasks.step(**self.queue.pop(0))

    @rule(place=PLACES, times=st.integers(0, 2))
    def deliver(self, place: int, times: int) -> None:
        """Lose a task, do it, or do it twice."""
        if self._waiting():
            task = self.queue.pop(place % len(self.queue))
            for _ in range(times):
                tasks.step(**task)

    @rule()
    def look(self) -> None:
        tasks.enqueue(tick.due())
        tick.housekeeping()
        tick.sign_checkpoint()

    @rule(place=PLACES, steps=DEATHS)
    def worker_dies(self, place: int, steps: int) -> None:
        """The task is delivered again, or the tick finds what is left."""
        if not self._waiting():
            self.submit(place, 0, 100, 0)
        if self._waiting():
            task = self.queue[place % len(self.queue)]
            if not self._dies(partial(tasks.step, **task), steps):
                self.queue.remove(task)

    @rule(steps=DEATHS)
    def tick_dies(self, steps: int) -> None:
        self._dies(self.look, steps)

    # What agents do.

    @rule(place=PLACES)
    def poll(self, place: int) -> None:
        agent = self._agent(place)
        assert agent.poll().status_code in ({200, 204} if _is_active(agent) else {403})

    @rule(place=PLACES, seed=SEEDS, samples=SAMPLES, skew=st.sampled_from([0, 0, 0, -10, 10, -20, 20]))
    def submit(self, place: int, seed: int, samples: int, skew: int) -> None:
        sent = self._seal(place, seed, samples, skew)
        if sent is not None:
            answer = sent.agent.put(sent.round_id, sent.sealed)
            if abs(skew) * MINUTE * 1000 > CLOCK_WINDOW_MS:
                assert (answer.status_code, answer.json()["code"]) == (422, "clock_skew")
            else:
                assert (answer.status_code, answer.json()["state"]) == (202, "RECEIVED"), answer.content

    @rule(seed=SEEDS, worked=st.booleans())
    def all_submit(self, seed: int, worked: bool) -> None:
        for place in range(len(self.agents)):
            self.submit(place, seed + place, 100, 0)
        if worked:
            self.work()

    @rule(place=PLACES, seed=SEEDS, cut=st.integers(1, 2000), steps=DEATHS)
    def web_dies_in_an_upload(self, place: int, seed: int, cut: int, steps: int) -> None:
        """It came in two parts; the agent goes on from what it is told is here."""
        sent = self._seal(place, seed, 100, 0)
        if sent is None:
            return
        assert (
            sent.agent.put(sent.round_id, sent.sealed[:cut], length=len(sent.sealed), digest=digest(sent)).status_code
            == 200
        )
        rest = partial(sent.agent.put, sent.round_id, sent.sealed[cut:], offset=cut, **whole(sent))
        if self._dies(rest, steps):
            here = sent.agent.status(sent.round_id, digest(sent))["received"]
            sent.agent.put(sent.round_id, sent.sealed[here:], offset=here, **whole(sent))

    @rule(place=PLACES, bit=st.integers(0, 8 * 10_000))
    def submit_damaged(self, place: int, bit: int) -> None:
        sent = self._seal(place, 0, 100, 0)
        if sent is not None:
            damaged = bytearray(sent.sealed)
            damaged[bit // 8 % len(damaged)] ^= 1 << bit % 8
            answer = sent.agent.put(sent.round_id, bytes(damaged))
            assert (answer.status_code, answer.json()["code"]) == (422, "update_refused"), answer.content

    @rule(which=st.integers(0, 30), place=PLACES)
    def replay(self, which: int, place: int) -> None:
        """Somebody sends what was sent before, the same agent or another."""
        if self.sent:
            sent, agent = list(self.sent.values())[which % len(self.sent)], self._agent(place)
            known = Update.objects.filter(digest=digest(sent), agent=agent.row).exists()
            fits = _is_active(agent) and agent is sent.agent and _task(agent) is not None
            status = agent.put(sent.round_id, sent.sealed).status_code
            assert 400 <= status < 500 or (status == 202 and (known or fits)), status

    @rule(correct=st.sampled_from([2, 8]))
    def evaluate(self, correct: int) -> None:
        for agent in self.agents:
            manifest = _task(agent)
            if manifest is not None and manifest.kind == "evaluate":
                body = agent.report_body(manifest, report(correct))
                assert agent.send_report(manifest.round_id, body).status_code == 200

    # What administrators do.

    @rule(place=PLACES)
    def revoke(self, place: int) -> None:
        agent = self._agent(place)
        if _is_active(agent) and sum(map(_is_active, self.agents)) > self.hub.federation.min_updates:
            tasks.enqueue(revoke.revoke(agent.row, actor=WHO))

    @rule()
    def enrol(self) -> None:
        if len(self.agents) < 6:
            self.agents.append(SiteAgent(enrol_agent(self.cast.south)))

    @rule(rounds=st.integers(1, 3))
    def start(self, rounds: int) -> None:
        self._try(lambda: runs.start_run(self.hub.federation, rounds=rounds, actor=WHO)[1])

    @rule(verb=st.sampled_from(["pause", "resume", "resume", "abort"]))
    def steer(self, verb: str) -> None:
        run = Run.objects.order_by("created_at").last()
        if run is not None:
            self._try(lambda: runs.STEERING[verb](run, actor=WHO))

    @rule()
    def propose(self) -> None:
        with suppress(Refusal):
            proposed(self.hub, self.cast.north_doctor, by=0.001)

    @rule(verb=st.sampled_from(["publish", "reject", "rollback"]), place=PLACES)
    def decide(self, verb: str, place: int) -> None:
        version = self._version(place)
        self._try(lambda: decide.decide(version, verb, actor=WHO, reason="a reason")[1])

    @rule(verb=st.sampled_from(["publish", "rollback"]), place=PLACES, steps=DEATHS)
    def web_dies_deciding(self, verb: str, place: int, steps: int) -> None:
        version = self._version(place)
        self._dies(lambda: tasks.enqueue(decide.decide(version, verb, actor=WHO)[1]), steps)

    @rule()
    def retry(self) -> None:
        """Let what was parked, because its process died three times, be tried again."""
        for row in attempts.parked():
            tasks.enqueue(attempts.retry(row, actor=WHO))

    # What holds.

    @invariant()
    def all_holds(self) -> None:
        # No two things happen in the same moment.
        self._clock.shift(timedelta(milliseconds=10))
        must.hold(self.sent, self.history)

    def teardown(self) -> None:
        """In the end, where nothing went wrong, time and the tick bring everything to rest, and training goes on."""
        try:
            if sys.exc_info()[0] is None:
                self._settle()
                if self.trains_in_the_end:
                    self._train_once_more()
                self.reached.update(must.outcomes())
        finally:
            self._ends.close()

    def _settle(self) -> None:
        self.queue.clear()
        for _ in range(3):
            # More than the clock was ever set back: what was noted in the future is due too.
            self._clock.shift(timedelta(hours=2))
            self.retry()
            self.look()
            self.work()
            must.hold(self.sent, self.history)
        must.be_at_rest()

    def _train_once_more(self) -> None:
        while sum(map(_is_active, self.agents)) < 2:
            self.agents.append(SiteAgent(enrol_agent(self.cast.south)))
        run = Run.objects.filter(state__in=["RUNNING", "PAUSED"]).first()
        if run is not None:
            tasks.enqueue(runs.abort(run, actor=WHO))
        self.hub.configure(evaluate_quorum=0)
        self.start(1)
        for agent in [agent for agent in self.agents if _is_active(agent)][:2]:
            agent.poll()
        self.work()
        self.all_submit(1, worked=True)
        must.hold(self.sent, self.history)
        last = Round.objects.order_by("opened_at").last()
        assert last is not None
        assert (last.state, last.reason) == ("PUBLISHED", "")
        must.leave_nothing(self.hub.files())
        self._clock.shift(timedelta(hours=25))
        self.look()
        assert (self.hub.files(), keys.kept_round_keys()) == (set(), [])

    def _forget(self) -> None:
        denials.forget_denials()
        connections.close_all()
        for left in self._queue_folder.glob("*"):
            left.unlink()

    def _dies(self, doing: Callable[[], object], steps: int) -> bool:
        died = dies(doing, steps)
        self.reached["a process that died" if died else "a process that was quicker"] += 1
        return died

    def _waiting(self) -> bool:
        if any(self._queue_folder.glob("*.msg")):
            self.queue += sorted(self.hub.queued(), key=lambda task: task["name"])
        return bool(self.queue)

    def _agent(self, place: int) -> SiteAgent:
        return self.agents[place % len(self.agents)]

    def _version(self, place: int) -> ModelVersion:
        versions = ModelVersion.objects.select_related("federation", "author", "round__run").order_by("created_at")
        return list(versions)[-1 - place % len(versions)]

    def _try(self, doing: Callable[[], Iterable[Next]]) -> None:
        with suppress(Refusal, Conflict):
            tasks.enqueue(doing())

    def _seal(self, place: int, seed: int, samples: int, skew: int) -> Sent | None:
        """Seal an honest update where this agent is asked for one; `skew` is how many minutes its clock is off."""
        agent = self._agent(place)
        manifest = _task(agent)
        if manifest is None or manifest.kind != "train":
            return None
        content = payload(delta(seed), {"report": report().to_json()})
        sealed = agent.seal(manifest, content, num_samples=samples, now_ms=now_ms() + skew * MINUTE * 1000)
        sent = Sent(agent, manifest.round_id, sealed, seed, samples)
        self.sent[digest(sent)] = sent
        return sent


def _is_active(agent: SiteAgent) -> bool:
    return Agent.objects.active().filter(pk=agent.credentials.agent_id).exists()


def _task(agent: SiteAgent) -> Manifest | None:
    """What the hub would answer this agent, in the way of its call but for the wait; none where it was revoked."""
    found = find_task(agent.row, SLUG) if _is_active(agent) else None
    return None if found is None else open_manifest(SignedManifest.from_wire(found), agent.credentials.identity)


def digest(sent: Sent) -> str:
    return weights.digest(sent.sealed)


def whole(sent: Sent) -> dict[str, Any]:
    return {"length": len(sent.sealed), "digest": digest(sent)}
