"""A socket outlives the request that opened it, but not the right to read."""

import asyncio
import io
import time
from datetime import timedelta

import pytest
from asgiref.sync import sync_to_async
from django.contrib.sessions.models import Session
from django.core.management import CommandError, call_command
from django.urls import reverse
from django.utils import timezone
from hub_client import HubClient
from hub_socket import socket_of

from apps.accounts.models import Role, User
from apps.accounts.pipeline import add_member, change_role, issue_password_link, remove_member, set_active
from apps.federation.consumers import MOST_SOCKETS, RIGHTS_CHANGED, SIGN_IN_FIRST
from apps.federation.models import Agent

WITHIN = 2.0


def lose_the_session(cast):
    Session.objects.all().delete()


def deactivate_by_hand(cast):
    User.objects.filter(pk=cast.north_doctor.pk).update(is_active=False)


def change_password_by_hand(cast):
    # A copy: the cast is shared between tests.
    own = User.objects.get(pk=cast.north_doctor.pk)
    own.set_password("another long password")
    own.save(update_fields=["password"])


def move_by_hand(cast):
    cast.north_doctor.memberships.all().delete()


@pytest.mark.parametrize(
    ("loss", "code"),
    [
        (lose_the_session, SIGN_IN_FIRST),
        (deactivate_by_hand, SIGN_IN_FIRST),
        (change_password_by_hand, SIGN_IN_FIRST),
        (move_by_hand, RIGHTS_CHANGED),
    ],
)
def test_a_socket_ends_before_the_next_event_whatever_changed_the_database(hub, cast, in_loop, loss, code):
    socket = socket_of(cast.north_doctor)

    async def scene():
        assert (await socket.connect())[0]
        await asyncio.sleep(0.5)
        await sync_to_async(loss)(cast)
        await sync_to_async(hub.start_run)()
        return await socket.receive_output(timeout=5)

    assert in_loop(scene) == {"type": "websocket.close", "code": code}


def own_copy(cast):
    return User.objects.get(pk=cast.north_doctor.pk)


def sign_out(cast, client):
    assert client.post("/accounts/logout/").status_code == 302


def sign_in_elsewhere(cast, client):
    fields = {"username": cast.north_doctor.username, "password": "correct horse battery"}
    assert HubClient().post("/accounts/login/", fields).status_code == 302


def deactivate(cast, client):
    set_active(own_copy(cast), active=False, actor=cast.admin.actor)


def new_role(cast, client):
    change_role(own_copy(cast), Role.USER, actor=cast.admin.actor)


def join(cast, client):
    add_member(own_copy(cast), cast.island, actor=cast.admin.actor)


def leave(cast, client):
    remove_member(own_copy(cast), cast.north, actor=cast.admin.actor)


def new_password(cast, client):
    token = issue_password_link(own_copy(cast), actor=cast.admin.actor)
    fresh = "staple battery horse"
    form = {"token": token, "new_password1": fresh, "new_password2": fresh}
    assert HubClient().post(reverse("accounts:password-link"), form).status_code == 302


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (sign_out, SIGN_IN_FIRST),
        (sign_in_elsewhere, SIGN_IN_FIRST),
        (deactivate, SIGN_IN_FIRST),
        (new_password, SIGN_IN_FIRST),
        (new_role, SIGN_IN_FIRST),
        (join, RIGHTS_CHANGED),
        (leave, RIGHTS_CHANGED),
    ],
)
def test_a_socket_ends_at_once_though_nothing_else_happens(hub, cast, in_loop, change, code):
    """What happened is for admins' eyes; still the person's own socket looks again, and nobody else's ends."""
    client = HubClient()
    client.force_login(cast.north_doctor)
    socket, other = socket_of(cast.north_doctor, client=client), socket_of(cast.south_doctor)

    async def scene():
        assert (await socket.connect())[0]
        assert (await other.connect())[0]
        started = time.monotonic()
        await sync_to_async(change)(cast, client)
        ended = await socket.receive_output(timeout=5)
        seconds = time.monotonic() - started
        while ended["type"] == "websocket.send":
            ended = await socket.receive_output(timeout=5)
        assert await other.receive_nothing(timeout=0.2)
        await other.disconnect()
        return ended, seconds

    ended, seconds = in_loop(scene)
    assert ended == {"type": "websocket.close", "code": code}
    assert seconds < WITHIN


def test_signing_out_ends_the_sockets_of_that_session_alone(hub, cast, in_loop):
    here, there = HubClient(), HubClient()
    for client in (here, there):
        client.force_login(cast.reader)
    ending, staying = socket_of(cast.reader, client=here), socket_of(cast.reader, client=there)

    async def scene():
        assert (await ending.connect())[0]
        assert (await staying.connect())[0]
        await sync_to_async(sign_out)(cast, here)
        ended = await ending.receive_output(timeout=WITHIN)
        assert await staying.receive_nothing(timeout=0.3)
        await staying.disconnect()
        return ended

    assert in_loop(scene) == {"type": "websocket.close", "code": SIGN_IN_FIRST}


def test_who_must_set_up_a_second_factor_first_reads_nothing_live(hub, cast, in_loop, settings):
    settings.REQUIRE_ADMIN_OTP = True
    refused, open_ = socket_of(cast.admin), socket_of(cast.reader)

    async def scene():
        got = [await refused.connect(), await open_.connect()]
        await open_.disconnect()
        return got

    assert in_loop(scene) == [(False, SIGN_IN_FIRST), (True, None)]


def test_a_socket_ends_with_its_session(hub, cast, in_loop):
    socket = socket_of(cast.reader)
    Session.objects.update(expire_date=timezone.now() + timedelta(seconds=1))

    async def scene():
        assert (await socket.connect())[0]
        return await socket.receive_output(timeout=3)

    assert in_loop(scene) == {"type": "websocket.close", "code": SIGN_IN_FIRST}


def test_a_session_that_was_made_to_last_keeps_its_socket(hub, cast, in_loop):
    socket = socket_of(cast.reader)
    Session.objects.update(expire_date=timezone.now() + timedelta(seconds=1))

    async def scene():
        assert (await socket.connect())[0]
        await sync_to_async(Session.objects.update)(expire_date=timezone.now() + timedelta(hours=1))
        nothing = await socket.receive_nothing(timeout=1.5)
        await socket.disconnect()
        return nothing

    assert in_loop(scene)


def test_one_person_has_so_many_sockets_and_the_others_theirs(hub, cast, in_loop):
    client = HubClient()
    client.force_login(cast.reader)
    sockets = [socket_of(cast.reader, client=client) for _ in range(MOST_SOCKETS + 2)]
    other = socket_of(cast.admin)

    async def scene():
        opened = [(await socket.connect())[0] for socket in sockets[:-1]]
        opened.append((await other.connect())[0])
        await sockets[0].disconnect()
        opened.append((await sockets[-1].connect())[0])
        for socket in [*sockets[1:-2], sockets[-1], other]:
            await socket.disconnect()
        return opened

    assert in_loop(scene) == [True] * MOST_SOCKETS + [False, True, True]


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


def test_a_socket_that_the_server_cancels_makes_room_for_another(hub, cast, in_loop):
    client = HubClient()
    client.force_login(cast.reader)
    *cancelled, another = [socket_of(cast.reader, client=client) for _ in range(MOST_SOCKETS + 1)]

    async def scene():
        for socket in cancelled:
            assert (await socket.connect())[0]
            socket.future.cancel()
        await asyncio.wait([socket.future for socket in cancelled])
        accepted = (await another.connect())[0]
        await another.disconnect()
        return accepted

    assert in_loop(scene)
