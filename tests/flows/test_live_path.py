"""The live path and the doors of a hub that runs: real processes, real HTTP, real WebSockets."""

import base64
import re
import secrets
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import httpx
import office
import pytest
from browser_socket import TEXT, BrowserSocket, RefusedError
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from harness import Hub

from hospintel_core import signing

PASSWORD = "correct horse battery"
SIGN_IN_FIRST, RIGHTS_CHANGED = 4401, 4403
# What the hub promises; what it takes is a tenth of that.
WITHIN = 2.0


class Tab:
    """A browser in which somebody is signed in."""

    def __init__(self, hub: Hub, username: str, **headers: str) -> None:
        self.port = hub.processes.port
        self.sockets: list[BrowserSocket] = []
        headers = {"Accept": "text/html", **headers}
        self.http = httpx.Client(base_url=hub.processes.address, headers=headers, timeout=120)
        self.post("/accounts/login/", username=username, password=PASSWORD)

    def post(self, path: str, **fields: str) -> httpx.Response:
        """Send a form, with the token of a page of ours."""
        page = self.http.get("/accounts/login/" if path == "/accounts/login/" else "/")
        found = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', page.text)
        assert found, page.text
        answer = self.http.post(path, data={"csrfmiddlewaretoken": found[1], **fields})
        assert answer.status_code == 302, answer.text
        return answer

    @property
    def cookie(self) -> str:
        return f"session={self.http.cookies['session']}"

    def socket(self, **options: Any) -> BrowserSocket:
        self.sockets.append(BrowserSocket(self.port, self.cookie, **options))
        return self.sockets[-1]

    def close(self) -> None:
        for socket in self.sockets:
            socket.close()
        self.http.close()


@pytest.fixture
def tab(hub: Hub) -> Iterator[Callable[..., Tab]]:
    """Sign somebody in, in a browser of their own."""
    made: list[Tab] = []

    def make(username: str, **headers: str) -> Tab:
        made.append(Tab(hub, username, **headers))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def person(hub: Hub) -> str:
    """A doctor of a hospital of their own."""
    return hub.ask(office.create_doctor, f"doctor-{secrets.token_hex(4)}", PASSWORD)


def test_signing_out_in_another_tab_closes_the_socket(hub: Hub, tab: Any, person: str):
    here = tab(person)
    cookie = here.cookie
    sockets = [here.socket() for _ in range(3)]
    elsewhere = tab(hub.ask(office.create_doctor, f"other-{secrets.token_hex(4)}", PASSWORD)).socket()
    here.post("/accounts/logout/")
    started = time.monotonic()
    assert [socket.until_closed(WITHIN) for socket in sockets] == [SIGN_IN_FIRST] * 3
    assert time.monotonic() - started < WITHIN
    with pytest.raises(RefusedError) as refused:
        BrowserSocket(hub.processes.port, cookie)
    assert refused.value.status == 403
    with pytest.raises(TimeoutError):
        elsewhere.until_closed(0.5)


CHANGES: dict[str, tuple[Callable[..., Any], int]] = {
    "deactivated": (office.deactivate, SIGN_IN_FIRST),
    "given another password": (office.new_password, SIGN_IN_FIRST),
    "given another role": (office.make_user, SIGN_IN_FIRST),
    "taken out of their hospital": (office.leave, RIGHTS_CHANGED),
}


@pytest.mark.parametrize("change", CHANGES)
def test_the_socket_closes_at_once_when_its_person_is(hub: Hub, tab: Any, person: str, change: str):
    """What happens is written by another process than the one that holds the socket."""
    do, code = CHANGES[change]
    socket = tab(person).socket()
    hub.ask(do, person)
    # From the answer on: to hash a password takes as long as the machine likes.
    assert socket.until_closed(WITHIN) == code


def test_events_come_to_a_page_that_is_open_and_not_to_others_pages(hub: Hub, tab: Any, person: str):
    mine = tab(person).socket()
    other = tab(hub.ask(office.create_doctor, f"other-{secrets.token_hex(4)}", PASSWORD)).socket()
    hub.ask(office.note, person)
    hub.ask(office.note_to_all)
    mine_seen, other_seen = seen(mine), seen(other)
    assert mine_seen["test.note"].startswith("hospital:")
    assert "test.note" not in other_seen


def test_much_that_happens_at_once_comes_to_a_page_too(hub: Hub, tab: Any, person: str):
    """A page may say little; what it is told may be longer."""
    socket = tab(person).socket()
    hub.ask(office.note_to_all, 100)
    told: list[dict[str, Any]] = []
    while len(told) < 100:
        events = socket.receive(WITHIN)
        assert isinstance(events, list), f"closed with {events}"
        told += events
    socket.send(TEXT, b"x" * 2000)
    with pytest.raises(ConnectionError):
        socket.until_closed(WITHIN)


def seen(socket: BrowserSocket) -> dict[str, str]:
    """The actions that come before the one that everybody sees, with their visibility: they come in their order."""
    found: dict[str, str] = {}
    while "test.note_to_all" not in found:
        events = socket.receive(WITHIN)
        assert isinstance(events, list)
        found |= {event["action"]: event["visibility"] for event in events}
    return found


@pytest.mark.parametrize("origin", ["https://evil.example", "null", None, "http://127.0.0.1:1", "http://localhost"])
def test_a_page_of_another_origin_opens_no_socket(hub: Hub, tab: Any, person: str, origin: str | None):
    with pytest.raises(RefusedError) as refused:
        tab(person).socket(origin=origin)
    assert refused.value.status == 403


def test_a_socket_that_sends_a_flood_is_closed_and_the_hub_goes_on(hub: Hub, tab: Any, person: str):
    here = tab(person)
    socket = here.socket()
    socket.send(1, b"x" * 4000)
    # Whether the reset overtakes the code that explains it is the network's business.
    with suppress(ConnectionError):
        assert socket.until_closed(WITHIN) == 1009
    assert here.http.get("/healthz").status_code == 200


def _enrol(address: str, code: str) -> httpx.Response:
    key = Ed25519PrivateKey.generate()
    raw = signing.public_raw(key.public_key())
    proof = signing.sign(signing.DOMAIN_ENROL, signing.enrol_proof_message(code, raw), key)
    fields = {"code": code, "public_key": b64(raw), "proof": b64(proof), "agent_version": "0.1.0"}
    return httpx.post(f"{address}/api/v1/agents/enrol", json=fields, timeout=240)


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def test_of_fifty_parallel_uses_of_one_code_exactly_one_succeeds(hub: Hub):
    (code,) = hub.ask(office.issue_codes, "brain-mri", [f"Race {secrets.token_hex(4)}"])
    with ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(lambda _: _enrol(hub.processes.address, code).status_code, range(50)))
    assert sorted(answers) == [201, *[403] * 49]
    assert len(hub.ask(office.events, "code.used")) >= 1


def test_a_revoked_agent_is_refused_at_its_next_request(hub: Hub):
    name = f"Revoked {secrets.token_hex(4)}"
    (code,) = hub.ask(office.issue_codes, "brain-mri", [name])
    token = _enrol(hub.processes.address, code).json()["token"]
    task = f"{hub.processes.address}/api/v1/federations/brain-mri/task"
    headers = {"Authorization": f"Bearer {token}"}
    assert httpx.get(task, headers=headers, timeout=120).status_code == 204
    hub.ask(office.revoke, name)
    answer = httpx.get(task, headers=headers, timeout=120)
    assert (answer.status_code, answer.json()["code"]) == (403, "agent_revoked")


def test_what_a_caller_says_of_its_address_is_not_believed(hub: Hub, tab: Any, person: str):
    names = ("X-Forwarded-For", "X-Real-IP", "Forwarded", "X-Client-IP", "True-Client-IP")
    for number, name in enumerate(names):
        tab(person, **{name: f"192.0.2.{number}"})
    user = hub.ask(office.actor_of, person)
    found = {event["facts"]["address"] for event in hub.ask(office.events, "login.ok", user)}
    assert found == {"127.0.0.1"}
