"""A database that does not answer in the middle of a call: whoever asked is told to come back, and nothing is lost."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager

import psycopg
import pytest
from django.conf import settings
from django.db import OperationalError, connection
from hub_client import HubClient
from hub_driver import assert_refused

from apps.federation.models import Attempt, Update
from apps.federation.pipeline import attempts
from apps.federation.pipeline.step import Next
from hospintel_core import weights
from hospintel_site import errors


@contextmanager
def broken_line() -> Iterator[None]:
    """PostgreSQL has ended our connection, and we do not know it yet."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        (pid,) = cursor.fetchone()
    with psycopg.connect(settings.DATABASE_URL) as other:
        other.execute("SELECT pg_terminate_backend(%s, 10000)", [pid])
    yield
    connection.close()


@contextmanager
def locked() -> Iterator[None]:
    """Somebody else writes to SQLite's file, for longer than anybody waits."""
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA busy_timeout=0")
    with closing(sqlite3.connect(connection.settings_dict["NAME"], isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")
    connection.close()


def away() -> Callable[[], object]:
    return broken_line if settings.DATABASE_URL else locked


def test_an_update_that_meets_no_database_is_taken_when_it_comes_again(hub, north, south):
    hub.open_round(north, south)
    manifest = north.task()
    sealed = north.seal(manifest)
    north.client.raise_request_exception = False
    with away()():
        answer = north.put(manifest.round_id, sealed)
        assert_refused(answer, 503, "database_away")
        assert answer.headers["Retry-After"] == "5"
    assert not Update.objects.exists()
    # As an agent does: from the byte on that the hub has.
    digest = weights.digest(sealed)
    offset = north.status(manifest.round_id, digest)["received"]
    again = north.put(manifest.round_id, sealed[offset:], offset=offset, length=len(sealed), digest=digest)
    assert again.status_code == 202, again.content
    assert Update.objects.count() == 1


def test_a_step_that_meets_no_database_is_tried_until_it_does(hub, north, south, clock):
    hub.open_round(north, south)
    north.take_part()
    hub.queued()
    received = Update.objects.get()

    def meets_none(pk):
        with away()():
            Update.objects.filter(pk=pk).update(code="")

    for _ in range(attempts.MOST_TRIES + 1):
        with pytest.raises(OperationalError):
            attempts.attempt("inspect", received.pk, meets_none)
        row = Attempt.objects.get()
        assert (row.tries, row.claim, row.parked_at, row.fault) == (0, None, None, "database_away")
        clock.shift(attempts.AWAY_SECONDS + 1)
    hub.run([Next("inspect", received.pk)])
    received.refresh_from_db()
    assert received.state == "ACCEPTED"


def test_a_page_says_so_in_words(cast):
    client = HubClient(raise_request_exception=False)
    headers = {"Accept": "text/html"}
    form = {"username": "nobody", "password": "wrong"}
    with away()():
        answer = client.post("/accounts/login/", form, headers=headers)
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
        assert "database does not answer now" in answer.content.decode()
    assert client.post("/accounts/login/", form, headers=headers).status_code != 503


@pytest.mark.skipif(bool(settings.DATABASE_URL), reason="of SQLite's errors")
def test_a_fault_of_ours_stays_one(world, rf):
    request = rf.get("/api/v1/x")
    with connection.cursor() as cursor:
        try:
            cursor.execute("SELECT * FROM nowhere")
        except Exception:
            assert errors.server_error(request).status_code == 500
