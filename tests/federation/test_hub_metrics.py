"""Who may read the metrics, and that they cost the same however much there is to count."""

import json
import logging
import sys
import uuid
from typing import Any

import pytest
from django.db import DatabaseError, connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from apps.federation.models import Attempt
from hospintel_site import logs, timings
from hospintel_site.checks import all_checks
from hospintel_site.models import Timing

TOKEN = "t" * 16 + "0123456789abcdef"
HERE, ELSEWHERE = "127.0.0.1", "192.0.2.7"


@pytest.mark.parametrize(
    ("address", "headers", "behind", "status"),
    [
        (HERE, {}, False, 200),
        ("::1", {}, False, 200),
        (ELSEWHERE, {}, False, 403),
        ("", {}, False, 403),
        # A proxy on this machine of which the settings do not know.
        (HERE, {"X-Forwarded-For": ELSEWHERE}, False, 403),
        (HERE, {"Via": "1.1 proxy"}, False, 403),
        # Behind one, an address is what a header says.
        (HERE, {}, True, 403),
        (ELSEWHERE, {"Authorization": f"Bearer {TOKEN}"}, False, 200),
        (ELSEWHERE, {"Authorization": f"bearer  {TOKEN} "}, True, 200),
        (ELSEWHERE, {"Authorization": f"Bearer {TOKEN}x"}, False, 403),
        (ELSEWHERE, {"Authorization": f"Basic {TOKEN}"}, False, 403),
        (ELSEWHERE, {"Authorization": "Bearer \u00e4"}, False, 403),
        (ELSEWHERE, {"Authorization": "Bearer "}, False, 403),
    ],
)
@pytest.mark.django_db
def test_the_metrics_are_for_this_machine_and_for_the_token(
    client: Client, settings: Any, address: str, headers: dict[str, str], behind: bool, status: int
):
    settings.METRICS_TOKEN, settings.BEHIND_PROXY = TOKEN, behind
    answer = client.get("/metrics", headers=headers, REMOTE_ADDR=address)
    assert answer.status_code == status
    if status == 403:
        assert answer.json()["code"] == "metrics_closed"


@pytest.mark.django_db
def test_without_a_token_nobody_has_it(client: Client):
    for header in ("", "Bearer", "Bearer "):
        answer = client.get("/metrics", headers={"Authorization": header}, REMOTE_ADDR=ELSEWHERE)
        assert answer.status_code == 403


def test_a_token_that_can_be_guessed_is_refused(settings: Any):
    settings.METRICS_TOKEN = "short"
    assert [message.id for message in all_checks()] == ["hospintel.E020"]
    settings.METRICS_TOKEN = TOKEN
    assert all_checks() == []


def test_no_hospital_and_no_person_is_in_the_metrics(hub: Any, cast: Any, north: Any, south: Any, client: Client):
    hub.open_round(north, south)
    hub.finish_honestly(north, south)
    text = client.get("/metrics").content.decode()
    assert 'hospintel_rounds{federation="brain-mri",reason="",state="PUBLISHED"} 1.0' in text
    for hidden in (
        "north",
        "North",
        "South",
        cast.north_doctor.username,
        str(cast.north.pk),
        str(north.credentials.agent_id),
    ):
        assert hidden not in text


def test_asking_costs_as_many_queries_however_much_has_happened(hub: Any, north: Any, south: Any, client: Client):
    def queries() -> int:
        with CaptureQueriesContext(connection) as caught:
            assert client.get("/metrics").status_code == 200
        return len(caught)

    before = queries()
    hub.open_round(north, south)
    hub.finish_honestly(north, south)
    assert queries() == before


@pytest.fixture
def nothing_counted() -> None:
    timings.flush()


@pytest.mark.django_db
def test_what_processes_count_is_added_up(nothing_counted: None):
    for seconds in (0.005, 0.02, 40.0):
        timings.note("request", "status", "2xx", seconds, bytes_in=1, bytes_out=10)
    assert timings.flush() == 1
    timings.note("request", "status", "2xx", 0.01)
    timings.flush()
    row = Timing.objects.get(what="request", name="status", outcome="2xx")
    assert (row.count, row.bytes_in, row.bytes_out) == (4, 3, 30)
    assert row.seconds == pytest.approx(40.035)
    # 0.01 is within the first bound, 40 beyond the last.
    assert [getattr(row, field) for field in Timing.BUCKETS] == [2, 1, 0, 0, 0, 0, 0, 0]
    assert timings.flush() == 0


@pytest.mark.django_db
def test_what_cannot_be_written_is_written_the_next_time(nothing_counted: None, monkeypatch: pytest.MonkeyPatch):
    timings.note("task", "finetune.train", "ok", 2.0)

    def away(*_: object) -> None:
        raise DatabaseError

    with monkeypatch.context() as patch:
        patch.setattr(timings, "_write", away)
        assert timings.flush() == 0
    timings.note("task", "finetune.train", "ok", 2.0)
    timings.flush()
    assert Timing.objects.get().count == 2


def _event(record: logging.LogRecord) -> dict[str, Any]:
    line = logs.JsonFormatter().format(record)
    assert "\n" not in line
    assert logs.is_event(line)
    return json.loads(line)


def test_an_error_is_one_event_without_the_values_of_the_row_that_was_refused():
    said = f'duplicate key "user"\nDETAIL:  Key (username)=({"an" + "na"}) already exists.'
    try:
        raise DatabaseError(said)
    except DatabaseError:
        record = logging.LogRecord("apps.x", logging.ERROR, __file__, 1, "round %s", ("7",), sys.exc_info())
    with logs.about(request="abc"), logs.about(round="r"):
        event = _event(record)
    assert (event["message"], event["request"], event["round"]) == ("round 7", "abc", "r")
    assert event["error"] == "DatabaseError"
    assert "duplicate key" in event["trace"]
    assert "anna" not in json.dumps(event)
    assert "request" not in _event(record)


@pytest.mark.django_db
def test_a_step_that_is_parked_is_counted(client: Client):
    parked = {"step": "aggregate", "seen_at": timezone.now(), "tries": 3}
    Attempt.objects.create(object_id=uuid.uuid4(), parked_at=timezone.now(), **parked)
    Attempt.objects.create(object_id=uuid.uuid4(), **parked)
    assert 'hospintel_steps_parked{step="aggregate"} 1.0' in client.get("/metrics").content.decode()
