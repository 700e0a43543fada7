"""A socket outlives the request that opened it, but not the right to read."""

import asyncio
import io

import pytest
from asgiref.sync import sync_to_async
from django.contrib.sessions.models import Session
from django.core.management import CommandError, call_command
from hub_socket import socket_of

from apps.accounts.models import User
from apps.accounts.pipeline import remove_member
from apps.federation.consumers import SIGN_IN_FIRST
from apps.federation.models import Agent


def sign_out(user):
    Session.objects.all().delete()


def deactivate(user):
    User.objects.filter(pk=user.pk).update(is_active=False)


def change_password(user):
    # A copy: the cast is shared between tests.
    own = User.objects.get(pk=user.pk)
    own.set_password("another long password")
    own.save(update_fields=["password"])


def leave_the_hospital(user):
    remove_member(user, user.memberships.get().hospital, actor="user:1")


@pytest.mark.parametrize("loss", [sign_out, deactivate, change_password, leave_the_hospital])
def test_a_socket_ends_before_the_next_event_once_its_person_may_no_longer_read(hub, cast, in_loop, loss):
    socket = socket_of(cast.north_doctor)

    async def scene():
        assert (await socket.connect())[0]
        await asyncio.sleep(0.5)
        await sync_to_async(loss)(cast.north_doctor)
        await sync_to_async(hub.start_run)()
        return await socket.receive_output(timeout=5)

    assert in_loop(scene) == {"type": "websocket.close", "code": SIGN_IN_FIRST}


def test_an_agents_version_is_shown_only_if_it_looks_like_one(hub, north):
    for header, kept in (("1.2.3+x", "1.2.3+x"), ("<b>\x1b[31m", "1.2.3+x"), ("9" * 41, "1.2.3+x")):
        Agent.objects.filter(pk=north.row.pk).update(last_seen=None)
        url = f"/api/v1/federations/{hub.federation.pk}/task"
        north.client.get(url, headers={**north.headers, "X-Hospintel-Version": header})
        assert Agent.objects.get(pk=north.row.pk).version == kept


def test_every_call_of_an_agent_says_that_it_is_there(hub, north, south):
    round_ = hub.open_round(north, south)
    calls = {
        "update": lambda: north.status(round_.pk),
        "model": lambda: north.client.get(f"/api/v1/models/{round_.base.digest}", headers=north.headers),
    }
    for call in calls.values():
        Agent.objects.filter(pk=north.row.pk).update(last_seen=None)
        call()
        assert Agent.objects.get(pk=north.row.pk).is_online(60)


def test_the_command_lists_agents_and_revokes_one(hub, north, south):
    listed = io.StringIO()
    call_command("revoke_agent", stdout=listed)
    assert str(north.row.pk) in listed.getvalue()
    call_command("revoke_agent", str(north.row.pk), stdout=io.StringIO())
    assert Agent.objects.get(pk=north.row.pk).state == "REVOKED"
    with pytest.raises(CommandError, match="revoked already"):
        call_command("revoke_agent", str(north.row.pk))
    with pytest.raises(CommandError, match="0 agents begin"):
        call_command("revoke_agent", "zzzz")
