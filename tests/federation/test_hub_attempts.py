"""A step whose process dies over it three times is parked, told to administrators, and tried again when they say so."""

import os
import subprocess
import sys
import uuid
from datetime import timedelta
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.db import OperationalError, connection
from django.utils import timezone
from looking import browser

from apps.audit.api import transaction
from apps.federation import parked, tasks
from apps.federation.models import Attempt, Round, Update
from apps.federation.pipeline import attempts, counted, tick
from apps.federation.pipeline.step import Next, Refusal
from apps.finetune.tasks import train  # noqa: F401 - it counts its steps too
from hospintel_site import database


class Killed(BaseException):
    """What a kill is to the process itself: nothing of it runs any more."""


def die(_pk):
    raise Killed


@pytest.fixture
def received(hub, north, south):
    """An update that waits for its inspection."""
    hub.open_round(north, south)
    north.take_part()
    hub.queued()
    return Update.objects.get()


def killed(step, pk, clock, times=attempts.MOST_TRIES):
    """Let so many processes die over a step."""
    for _ in range(times):
        with pytest.raises(Killed):
            attempts.attempt(step, pk, die)
        clock.shift(attempts.STALE_SECONDS + 1)


def park(step, pk, clock):
    killed(step, pk, clock)
    assert attempts.attempt(step, pk, die) == []
    return Attempt.objects.get(step=step, object_id=pk)


def test_every_step_but_those_that_are_looked_at_every_second_is_counted_and_has_its_words():
    assert set(counted.OF_FEDERATION) == set(tasks.STEPS) - {"close", "open"} == set(parked.WHAT)
    assert set(attempts.KINDS) == {*counted.OF_FEDERATION, "train", "propose_job", "read_model"}


def test_what_ends_well_leaves_no_trace(hub, north, received):
    hub.run([Next("inspect", received.pk)])
    assert north.status(received.round_id)["state"] == "ACCEPTED"
    assert not Attempt.objects.exists()


def test_a_step_that_killed_three_processes_is_begun_no_fourth_time(hub, received, clock):
    row = park("inspect", received.pk, clock)
    assert (row.tries, row.claim, row.parked_at is not None) == (3, None, True)
    entry = hub.event(action="step.parked")
    assert entry["object"] == f"update:{received.pk}"
    assert entry["facts"] == {"step": "inspect", "tries": 3, "fault": ""}
    for _ in range(3):
        clock.shift(60)
        hub.tick()
    received.refresh_from_db()
    assert received.state == "RECEIVED"
    assert len(hub.events(action="step.parked")) == 1


def test_tried_again_it_counts(hub, south, received, clock):
    row = park("inspect", received.pk, clock)
    hub.run(attempts.retry(row, actor="user:1"))
    assert hub.event(action="step.retry")["object"] == f"update:{received.pk}"
    with pytest.raises(Refusal) as refused:
        attempts.retry(row, actor="user:1")
    assert refused.value.code == "step_state"
    hub.finish_honestly(south)


def test_a_promised_step_is_begun_by_the_tick_where_its_task_is_lost(hub, received, clock):
    with transaction():
        attempts.promise("inspect", [received.pk])
    assert attempts.due(counted.OF_FEDERATION) == []
    clock.shift(attempts.LOST_SECONDS + 1)
    lost = [Next("inspect", received.pk, apart=True)]
    assert attempts.due(counted.OF_FEDERATION) == lost
    assert attempts.due(counted.OF_FEDERATION) == []
    clock.shift(attempts.QUEUED_SECONDS + 1)
    assert attempts.due(counted.OF_FEDERATION) == lost
    hub.run(lost)
    received.refresh_from_db()
    assert (received.state, Attempt.objects.exists()) == ("ACCEPTED", False)


def test_a_promise_that_is_made_while_the_step_is_being_done_is_kept(received):
    def promised_meanwhile(pk):
        with transaction():
            attempts.promise("inspect", [pk])

    attempts.attempt("inspect", received.pk, promised_meanwhile)
    assert Attempt.objects.get().tries == 0


def test_a_parked_step_is_tried_again_although_its_task_is_lost(hub, received, clock):
    attempts.retry(park("inspect", received.pk, clock), actor="user:1")
    clock.shift(attempts.LOST_SECONDS + 1)
    hub.tick()
    received.refresh_from_db()
    assert received.state == "ACCEPTED"


def test_a_round_does_not_wait_for_an_update_that_nobody_can_inspect(hub, north, south, received, clock):
    hub.configure(min_updates=1, grace=30)
    park("inspect", received.pk, clock)
    south.take_part(seed=1)
    hub.work()
    clock.shift(31)
    hub.tick()
    round_ = Round.objects.get()
    assert round_.state == "PUBLISHED"
    assert [update.agent_id for update in round_.updates.filter(state="CONSUMED")] == [south.row.pk]
    # What came in time and could not be looked at is refused with the round's end, and its agent hears of it.
    assert north.status(round_.pk)["code"] == "round_closed"
    assert attempts.parked() == []
    tick.housekeeping()
    assert not Attempt.objects.exists()


@pytest.fixture
def closed(hub, north, south):
    """A round that has closed and waits for its aggregation."""
    round_ = hub.open_round(north, south)
    for seed, agent in enumerate((north, south)):
        agent.take_part(seed=seed)
    for update in Update.objects.all():
        for following in tasks.STEPS["inspect"](update.pk):
            tasks.STEPS[following.step](following.id)
    hub.queued()
    round_.refresh_from_db()
    assert round_.state == "AGGREGATING"
    return round_


def test_a_round_whose_aggregation_is_parked_loses_nothing(hub, closed, clock):
    row = park("aggregate", closed.pk, clock)
    clock.shift(60)
    hub.tick()
    closed.refresh_from_db()
    assert (closed.state, closed.updates.filter(state="ACCEPTED").count()) == ("AGGREGATING", 2)
    hub.run(attempts.retry(row, actor="user:1"))
    closed.refresh_from_db()
    assert (closed.state, closed.updates.filter(state="CONSUMED").count()) == ("PUBLISHED", 2)


def test_an_error_is_tried_again_ever_later_and_parked_with_its_name(hub, received, clock):
    path = hub.paths()[0]
    path.rename(path.with_suffix(".away"))
    for pause in (16, 61):
        with pytest.raises(FileNotFoundError):
            tasks.step(name="inspect", pk=str(received.pk))
        tasks.step(name="inspect", pk=str(received.pk))  # too early: nothing happens
        assert Attempt.objects.get().claim is None
        clock.shift(pause)
        assert [step.id for step in tick.due() if step.step == "inspect"] == [received.pk]
        assert "inspect" not in {step.step for step in tick.due()}, "once in a while"
    with pytest.raises(FileNotFoundError):
        tasks.step(name="inspect", pk=str(received.pk))
    assert hub.event(action="step.parked")["facts"]["fault"] == "FileNotFoundError"
    (told,) = parked.parked_steps()
    assert "failed each time (FileNotFoundError)" in told.advice.cause
    path.with_suffix(".away").rename(path)
    hub.run(attempts.retry(told.row, actor="user:1"))
    received.refresh_from_db()
    assert received.state == "ACCEPTED"


def test_a_line_that_breaks_twice_does_not_pass_for_a_process_that_died(received, monkeypatch):
    monkeypatch.setattr(attempts, "NOTE_SECONDS", (0.0, 0.0))
    broken = []

    def away(execute, sql, params, many, context):
        if len(broken) < 2 and "UPDATE" in sql and "attempt" in sql:
            broken.append(sql)
            raise OperationalError("the line is broken again")
        return execute(sql, params, many, context)

    def lose(_pk):
        raise OperationalError("the line is broken")

    with connection.execute_wrapper(away), pytest.raises(OperationalError, match=r"broken$"):
        attempts.attempt("inspect", received.pk, lose)
    row = Attempt.objects.get()
    assert (len(broken), row.tries, row.claim, row.fault) == (2, 0, None, database.AWAY)


def test_a_line_that_broke_once_holds_nothing_up(received, monkeypatch):
    monkeypatch.setattr(attempts, "AGAIN_SECONDS", (0.0, 0.0))
    broken = []

    def lose_twice(_pk):
        if len(broken) < 2:
            broken.append(None)
            raise OperationalError("the line is broken")
        return [Next("close", received.round_id)]

    assert attempts.attempt("inspect", received.pk, lose_twice) == [Next("close", received.round_id)]
    assert (len(broken), Attempt.objects.count()) == (2, 0)


def test_what_met_no_database_is_queued_again_soon_whenever_it_was_queued(received, clock):
    def lose(_pk):
        raise OperationalError("the line is broken")

    for _ in range(3):
        with pytest.raises(OperationalError):
            attempts.attempt("inspect", received.pk, lose)
        assert attempts.due(["inspect"]) == []
        clock.shift(attempts.AWAY_SECONDS + 1)
        assert attempts.due(["inspect"]) == [Next("inspect", received.pk, apart=True)]
        assert attempts.due(["inspect"]) == []


def test_of_two_workers_one_has_it(received):
    def other(_pk):
        assert attempts.attempt("inspect", received.pk, die) == []
        return [Next("close", received.round_id)]

    assert attempts.attempt("inspect", received.pk, other) == [Next("close", received.round_id)]


def test_a_step_whose_process_is_gone_is_taken_over_at_once(hub, received):
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    holder = f"{attempts._here()} {process.pid} {attempts._started(process.pid)}"
    Attempt.objects.create(
        step="inspect", object_id=received.pk, tries=1, claim=uuid.uuid4(), holder=holder, seen_at=timezone.now()
    )
    assert attempts.attempt("inspect", received.pk, die) == []
    assert "inspect" not in {step.step for step in tick.due()}
    process.kill()
    # Killed and not yet waited for, as a worker's child is for a moment; and then not even that.
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert attempts._is_gone(holder)
    process.communicate()
    assert attempts._is_gone(holder)
    hub.tick()
    received.refresh_from_db()
    assert received.state == "ACCEPTED"


def test_of_a_process_on_another_machine_nothing_is_known():
    assert not attempts._is_gone("elsewhere 0-0-0 pid:[1] 1 1")
    assert not attempts._is_gone("")
    assert not attempts._is_gone(attempts._me())


def test_a_step_that_takes_long_gives_a_sign_of_life(received, monkeypatch, clock):
    monkeypatch.setattr(attempts, "BEAT_SECONDS", 0.01)

    def slow(pk):
        before = Attempt.objects.get().seen_at
        clock.shift(timedelta(seconds=attempts.STALE_SECONDS))
        while Attempt.objects.get().seen_at == before:
            pass
        assert attempts.attempt("inspect", pk, die) == []

    attempts.attempt("inspect", received.pk, slow)


def test_administrators_see_it_and_have_it_tried_again(hub, cast, received, clock):
    row = park("inspect", received.pk, clock)
    html = {"headers": {"Accept": "text/html"}}
    for address in ("/", f"/rounds/{received.round_id}/"):
        text = browser(cast.admin).get(address, **html).text
        assert "Inspecting an update was begun 3 times and killed its process each time." in text
        assert "Inspecting an update" not in browser(cast.reader).get(address, **html).text
    assert browser(cast.admin).post(f"/steps/{row.pk}/retry").status_code == 302
    assert browser(cast.admin).post(f"/steps/{row.pk}/retry").status_code == 404
    hub.work()
    received.refresh_from_db()
    assert received.state == "ACCEPTED"


def test_the_command_lists_and_retries(hub, received, clock):
    row = park("inspect", received.pk, clock)
    out = StringIO()
    call_command("parked", stdout=out)
    assert f"{row.pk}  inspect of {received.pk}" in out.getvalue()
    with pytest.raises(CommandError):
        call_command("parked", "retry", "nothing", stdout=out)
    call_command("parked", "retry", str(row.pk)[:8], stdout=out)
    hub.work()
    received.refresh_from_db()
    assert received.state == "ACCEPTED"
