"""`advance` is the only writer of a state, and believes the row count."""

from typing import Any

import pytest
from django.db.models import F
from django.utils import timezone

from apps.audit.api import Conflict, IllegalTransition, advance, events_after, transaction
from apps.federation.models import HubKey
from apps.federation.states import KeyState

pytestmark = pytest.mark.django_db
SYSTEM = "system:test"


@pytest.fixture
def key() -> HubKey:
    return HubKey.objects.create(kid="00" * 8, kind=HubKey.Kind.RSA, state=KeyState.PENDING, public_pem="x")


def step(obj: Any, to: str, **more: Any) -> None:
    with transaction():
        advance(obj, to, actor=SYSTEM, **more)


def test_a_legal_step_writes_state_columns_and_entry(key: HubKey):
    now = timezone.now()
    step(key, KeyState.ACTIVE, changes={"retired_at": now}, why="test")
    assert (key.state, key.retired_at) == (KeyState.ACTIVE, now)
    key.refresh_from_db()
    assert (key.state, key.retired_at) == (KeyState.ACTIVE, now)
    event = events_after(0)[0]
    assert event["action"] == "key.active"
    assert event["facts"] == {"was": "PENDING", "why": "test"}


def test_an_illegal_step_is_refused(key: HubKey):
    with pytest.raises(IllegalTransition, match="cannot go from PENDING to DESTROYED"):
        step(key, KeyState.DESTROYED)
    key.refresh_from_db()
    assert key.state == KeyState.PENDING
    assert events_after(0) == []


def test_whoever_comes_second_gets_a_conflict(key: HubKey):
    mine, theirs = HubKey.objects.get(pk=key.pk), HubKey.objects.get(pk=key.pk)
    step(theirs, KeyState.ACTIVE)
    with pytest.raises(Conflict, match="no longer PENDING"):
        step(mine, KeyState.ACTIVE)
    assert mine.state == KeyState.PENDING
    assert [event["action"] for event in events_after(0)] == ["key.active"]


def test_computed_columns_are_read_back(key: HubKey):
    step(key, KeyState.ACTIVE, changes={"signed_by": F("kid")})
    assert key.signed_by == key.kid


def test_a_step_outside_a_transaction_is_a_mistake_in_the_code(key: HubKey):
    with pytest.raises(RuntimeError, match="outside"):
        advance(key, KeyState.ACTIVE, actor=SYSTEM)
    key.refresh_from_db()
    assert key.state == KeyState.PENDING
