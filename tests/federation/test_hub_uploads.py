"""An update on its way: in parts or in one body, resumed, out of order, twice at once, or never finished."""

import os
import threading
import time
from datetime import timedelta
from functools import partial
from uuid import UUID

import on_disk
import pytest
import time_machine
from django.conf import settings
from django.db import connections
from django.utils import timezone
from hub_driver import assert_refused
from site_agent import delta, payload, report

from apps.federation.models import Update
from apps.federation.pipeline import storage, tick
from hospintel_core import weights

pytestmark = pytest.mark.usefixtures("either")


@pytest.fixture
def round_(hub, north, south):
    return hub.open_round(north, south)


@pytest.fixture
def sealed(north, round_):
    return north.seal(north.task())


@pytest.fixture
def put(north, round_, sealed):
    """Upload a part of the one sealed update."""

    def put_part(start, end=None, **changes):
        whole = {"length": len(sealed), "digest": weights.digest(sealed), "offset": start}
        return north.put(round_.pk, sealed[start:end], **whole | changes)

    return put_part


def received(north, round_, sealed):
    return north.status(round_.pk, weights.digest(sealed))["received"]


def test_parts_in_order_make_an_update(hub, north, south, round_, sealed, put):
    assert put(0, 6000).json() == {"received": 6000}
    assert received(north, round_, sealed) == 6000
    assert put(6000, 6001).json() == {"received": 6001}
    answer = put(6001)
    assert (answer.status_code, answer.json()["state"], answer.json()["received"]) == (202, "RECEIVED", len(sealed))
    hub.work()
    status = north.status(round_.pk)
    assert status == {
        "state": "ACCEPTED",
        "code": "",
        "detail": "",
        "received": len(sealed),
        "attempts_left": 5,
        "round_state": "COLLECTING",
        "round_reason": "",
    }
    assert hub.event(action="update.received")["actor"] == north.row.actor
    hub.finish_honestly(south)


def test_an_upload_whose_last_answer_was_lost_is_completed_by_an_empty_part(hub, south, sealed, put, round_, north):
    put(0, 100)
    name = f"parts/{round_.pk}-{north.row.pk}-{weights.digest(sealed)}-{100:012d}.part"
    storage.uploads().put(name, sealed[100:])
    assert put(len(sealed)).status_code == 202
    hub.work()
    hub.finish_honestly(south)


@pytest.mark.parametrize(("start", "end"), [(5000, 6000), (0, 2000), (999, 2000), (1001, 2000)])
def test_a_part_that_does_not_begin_where_the_last_one_ended_is_refused(
    hub, north, south, round_, sealed, put, start, end
):
    put(0, 1000)
    answer = put(start, end)
    assert_refused(answer, 409, "offset_mismatch")
    assert answer.json()["received"] == 1000
    assert hub.event(code="offset_mismatch")["actor"] == north.row.actor
    assert received(north, round_, sealed) == 1000
    assert put(1000).status_code == 202
    hub.work()
    hub.finish_honestly(south)


def test_a_later_part_without_a_first_one_is_refused_and_leaves_no_file(hub, north, south, sealed, put):
    answer = put(1000)
    assert_refused(answer, 409, "offset_mismatch")
    assert answer.json()["received"] == 0
    assert hub.files() == set()
    hub.finish_honestly(north, south)


def test_more_bytes_than_announced_are_refused_and_what_is_here_stays(hub, north, south, round_, sealed, put):
    put(0, 1000)
    assert_refused(put(1000, 3000, length=2000), 413, "body_too_large")
    assert hub.event(code="body_too_large")["actor"] == north.row.actor
    assert received(north, round_, sealed) == 1000
    assert put(1000).status_code == 202
    hub.work()
    hub.finish_honestly(south)


def test_a_first_part_that_is_refused_leaves_no_file(hub, north, south, put):
    assert_refused(put(0, 3000, length=2000), 413, "body_too_large")
    assert hub.files() == set()
    hub.finish_honestly(north, south)


def test_a_part_of_more_than_four_mebibytes_is_refused(hub, north, round_):
    # The largest architecture: this round's own limit would refuse the length first.
    hub.configure(architecture="vgg16-head256")
    part = bytes(4 * 1024 * 1024)
    assert north.put(round_.pk, part, length=8_000_000, digest="a" * 64).json() == {"received": len(part)}
    answer = north.put(round_.pk, part + b"x", offset=len(part), length=8_500_000, digest="a" * 64)
    assert_refused(answer, 413, "body_too_large")
    assert north.status(round_.pk, "a" * 64)["received"] == len(part)


def test_an_upload_larger_than_the_rounds_model_is_refused_before_a_byte_is_taken(hub, north, south, round_, put):
    limit = north.task().max_bytes
    assert put(0, 10, length=limit).status_code == 200
    for length in (limit + 1, 999_999_999_999, 0):
        assert_refused(put(0, 10, length=length, digest="b" * 64), 413, "body_too_large")
    assert len(hub.files()) == 1
    # The first of them is an entry of its own, the repeats are counted.
    assert sum(event["facts"].get("calls", 1) for event in hub.events(code="body_too_large")) == 3
    hub.finish_honestly(north, south)


MALFORMED = {
    "no digest": {"digest": ""},
    "a digest in capitals": {"digest": "A" * 64},
    "a digest that is a path": {"digest": "../../../" + "a" * 55},
    "no length": {"length": ""},
    "a negative length": {"length": "-1"},
    "a length in words": {"length": "many"},
    "digits of another script": {"length": "٣"},
    "a length of 13 digits": {"length": "1" * 13},
    "no offset": {"offset": ""},
    "a negative offset": {"offset": "-1"},
    "a fraction as offset": {"offset": "0.5"},
}


@pytest.mark.parametrize("case", MALFORMED)
def test_an_upload_without_a_plain_digest_length_and_offset_is_refused(hub, north, south, round_, case):
    assert_refused(north.put(round_.pk, b"x", **MALFORMED[case]), 400, "bad_request")
    assert hub.event(code="bad_request")["actor"] == north.row.actor
    assert hub.files() == set()


def test_bytes_that_are_not_those_announced_are_refused_and_can_be_sent_again(hub, north, south, round_, sealed, put):
    put(0, 1000)
    answer = north.put(
        round_.pk, b"x" * (len(sealed) - 1000), offset=1000, length=len(sealed), digest=weights.digest(sealed)
    )
    assert_refused(answer, 422, "digest_mismatch")
    assert hub.event(code="digest_mismatch")["actor"] == north.row.actor
    assert hub.files() == set()
    assert north.status(round_.pk)["attempts_left"] == 6
    assert put(0).status_code == 202
    hub.work()
    hub.finish_honestly(south)


def test_an_upload_that_is_never_finished_is_removed_after_a_day(hub, north, round_, sealed, put):
    put(0, 1000)
    with time_machine.travel(timezone.now() + timedelta(hours=23)):
        tick.housekeeping()
    assert received(north, round_, sealed) == 1000
    with time_machine.travel(timezone.now() + timedelta(hours=25)):
        tick.housekeeping()
        assert hub.files() == set()


@on_disk.in_folder
def test_what_a_web_process_that_died_left_is_removed_after_a_day(hub, north, south, round_):
    north.take_part()
    orphans = [
        settings.UPLOAD_DIR / "parts" / f"{round_.pk}.0123.whole",
        on_disk.sealed_path(round_.pk),
    ]
    for path in orphans:
        path.write_bytes(b"left")
    for path in [*orphans, on_disk.sealed_path(Update.objects.get().pk)]:
        os.utime(path, (time.time() - 90_000, time.time() - 90_000))
    tick.housekeeping()
    assert hub.files() == {f"sealed/{Update.objects.get().pk}.hspu"}
    hub.work()
    hub.finish_honestly(south)


def test_unfinished_uploads_go_with_their_round(hub, north, south, put):
    put(0, 1000)
    hub.finish_honestly(north, south)


@on_disk.in_folder
def test_an_agent_has_at_most_four_unfinished_uploads_in_a_round(hub, north, round_):
    for number, digest in enumerate("abcdef"):
        assert north.put(round_.pk, b"x", length=100, digest=digest * 64).status_code == 200
        path = on_disk.part_path(round_.pk, north.row.pk, digest * 64)
        os.utime(path, (number, number))
    assert {name[-69:-68] for name in hub.files()} == set("cdef")


def at_once(*calls):
    """Make calls from a thread each, started together, and return their answers in the same order."""
    start, answers = threading.Barrier(len(calls)), [None] * len(calls)

    def run(place, call):
        try:
            start.wait()
            answers[place] = call()
        finally:
            connections.close_all()

    threads = [threading.Thread(target=run, args=pair) for pair in enumerate(calls)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=240)
    return answers


def test_the_same_upload_from_eight_requests_at_once_is_one_update(hub, north, south, round_, sealed):
    answers = at_once(*[partial(north.put, round_.pk, sealed)] * 8)
    codes = {(answer.status_code, answer.json().get("code")) for answer in answers}
    assert (202, "") in codes
    assert codes <= {(202, ""), (409, "upload_busy"), (409, "offset_mismatch")}
    update = Update.objects.get()
    assert hub.files() == {f"sealed/{update.pk}.hspu"}
    assert north.put(round_.pk, sealed).json()["state"] == "RECEIVED"
    hub.work()
    hub.finish_honestly(south)


def test_the_same_multipart_upload_from_eight_requests_at_once_is_one_update(hub, north, south, sealed):
    answers = at_once(*[partial(north.post, sealed)] * 8)
    assert {answer.status_code for answer in answers} == {200}
    assert hub.files() == {f"sealed/{Update.objects.get().pk}.hspu"}
    hub.work()
    hub.finish_honestly(south)


def test_of_two_different_updates_at_once_one_is_taken(hub, north, south, round_):
    manifest = north.task()
    answers = at_once(*[partial(north.put, round_.pk, north.seal(manifest)) for _ in range(2)])
    assert sorted(answer.status_code for answer in answers) == [202, 409]
    assert [answer.json()["code"] for answer in answers if answer.status_code == 409] == ["update_exists"]
    update = Update.objects.get()
    assert hub.files() == {f"sealed/{update.pk}.hspu"}
    assert hub.event(code="update_exists")["actor"] == north.row.actor
    hub.work()
    hub.finish_honestly(south)


def test_a_second_update_to_the_same_round_is_refused(hub, north, south, round_):
    manifest = north.task()
    first, second = north.seal(manifest), north.seal(manifest)
    assert north.put(round_.pk, first).status_code == 202
    hub.work()
    part = {"length": len(second), "digest": weights.digest(second)}
    for answer in (north.put(round_.pk, second[:100], **part), north.put(round_.pk, second), north.post(second)):
        assert_refused(answer, 409, "update_exists")
    assert north.status(round_.pk)["state"] == "ACCEPTED"
    assert hub.files() == {f"sealed/{Update.objects.get().pk}.hspu"}
    hub.finish_honestly(south)


def test_an_update_in_one_multipart_body_is_taken(hub, north, south, round_):
    content = payload(delta(1), {"report": report().to_json()})
    answer = north.post(north.seal(north.task(), content))
    assert answer.status_code == 200
    assert answer.json()["status"] == "accepted"
    assert answer.json()["message"].startswith("Update received.")
    hub.work()
    assert north.status(round_.pk)["state"] == "ACCEPTED"
    hub.finish_honestly(south)


def test_a_multipart_body_without_the_file_is_refused(hub, north, south, round_, sealed):
    assert_refused(north.client.post_file("/update", sealed, field="other", headers=north.headers), 400, "bad_request")
    assert_refused(north.client.post_json("/update", {}, headers=north.headers), 415, "unsupported_media_type")
    assert hub.event(code="unsupported_media_type")["actor"] == north.row.actor
    assert hub.files() == set()


def test_asking_whether_a_token_works_leaves_no_denial_in_the_audit(hub, north):
    answer = north.client.get(f"/api/v1/rounds/{UUID(int=0)}/update", headers=north.headers)
    assert_refused(answer, 404, "round_unknown")
    assert hub.events(code="round_unknown") == []
    assert_refused(
        north.client.get(f"/api/v1/rounds/{UUID(int=1)}/update", headers=north.headers), 404, "round_unknown"
    )
    assert len(hub.events(code="round_unknown")) == 1
