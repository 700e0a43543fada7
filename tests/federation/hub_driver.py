"""The hub under test: its own worker in this process, its disk, its audit."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from queue import Empty
from typing import Any

import redis
from django.conf import settings
from site_agent import SiteAgent

from apps.audit.api import events_after, flush_denials, verify
from apps.federation import tasks
from apps.federation.models import Federation, Round, Run, Update
from apps.federation.pipeline import keys, runs, storage, tick
from apps.federation.pipeline.step import Next
from hospintel_site.celery import app


def empty_queue() -> None:
    """Leave no task of an earlier test."""
    if settings.REDIS_URL:
        with redis.Redis.from_url(app.conf.broker_url) as server:
            server.flushdb()
        return
    for folder in ("messages", "control"):
        for left in (settings.QUEUE_DIR / folder).glob("*"):
            left.unlink()


@dataclass
class Hub:
    """A hub with one federation and two hospitals in it."""

    federation: Federation

    def configure(self, **fields: Any) -> None:
        """Set limits of the federation."""
        Federation.objects.filter(pk=self.federation.pk).update(**fields)
        self.federation.refresh_from_db()

    def queued(self) -> list[dict[str, str]]:
        """Take all tasks of both queues off the real broker."""
        found = []
        with app.connection_for_read() as connection:
            for name in ("default", "training"):
                queue = connection.SimpleQueue(name)
                while True:
                    try:
                        message = queue.get(block=False)
                    except Empty:
                        break
                    message.ack()
                    found.append(message.payload[1])
                queue.close()
        return found

    def work(self) -> None:
        """Do what a worker would: run queued tasks until there are none."""
        while waiting := self.queued():
            self.do(waiting)

    def do(self, waiting: Iterable[dict[str, str]]) -> None:
        """Do these tasks, whatever happened since they were queued."""
        for kwargs in waiting:
            tasks.step(**kwargs)

    def run(self, steps: Iterable[Next]) -> None:
        """Enqueue steps and do them, and all that follows."""
        tasks.enqueue(steps)
        self.work()

    def tick(self) -> None:
        """Do what is due now."""
        self.run(tick.due())

    def inspect_all(self) -> None:
        """Inspect what was received, as the tick has it done after a while."""
        self.run(Next("inspect", pk) for pk in Update.objects.filter(state="RECEIVED").values_list("pk", flat=True))

    def start_run(self, rounds: int = 1, **plan: Any) -> Run:
        """Start a run as an admin would."""
        run, following = runs.start_run(self.federation, rounds=rounds, plan=plan, actor="user:1")
        self.run(following)
        return run

    def open_round(self, *agents: SiteAgent, rounds: int = 1) -> Round:
        """Start a run and let these agents come online, so that its first round opens."""
        run = self.start_run(rounds)
        for agent in agents:
            assert agent.poll().status_code in {200, 204}
        self.work()
        return self.current_round(run)

    def current_round(self, run: Run | None = None) -> Round:
        """The round in progress, or the last one."""
        found = Round.objects.all() if run is None else Round.objects.filter(run=run)
        round_ = found.select_related("run").order_by("-opened_at").first()
        assert round_ is not None
        return round_

    def events(self, *, code: str = "", action: str = "") -> list[dict[str, Any]]:
        """The audit's entries, those counted for unknown callers included."""
        flush_denials()
        assert verify().ok
        return [
            event
            for event in events_after(0, 500)
            if (not action or event["action"] == action) and (not code or event["facts"].get("code") == code)
        ]

    def event(self, **wanted: str) -> dict[str, Any]:
        """The one entry that matches."""
        found = self.events(**wanted)
        assert len(found) == 1, found
        return found[0]

    def paths(self) -> list[Path]:
        """The files in the upload folder."""
        return [path for path in Path(settings.UPLOAD_DIR).rglob("*") if path.is_file()]

    def files(self) -> set[str]:
        """The names of what lies among the uploads."""
        if settings.S3 is not None:
            return {found.name for found in storage.uploads().list("")}
        return {str(path.relative_to(settings.UPLOAD_DIR)) for path in self.paths()}

    def finish_honestly(self, *agents: SiteAgent) -> Round:
        """Let these agents upload honest updates, and see that the round comes to its good end and leaves nothing."""
        round_ = self.current_round()
        for seed, agent in enumerate(agents):
            agent.take_part(seed=seed)
            self.work()
        round_.refresh_from_db()
        assert (round_.state, round_.reason) == ("PUBLISHED", "")
        assert self.files() == set()
        assert not keys.has_round_key(round_.pk)
        return round_


def assert_refused(answer: Any, status: int, code: str) -> None:
    """See that an answer is a refusal in the one shape: a stable code and a text."""
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.content
    assert answer.json()["detail"]
