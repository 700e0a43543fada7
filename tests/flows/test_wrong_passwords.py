"""Wrong passwords at a hub that runs: real processes, parallel requests, two addresses."""

import re
import secrets
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import httpx
import office
from harness import Hub

PASSWORD = "correct horse battery"
# A few less than the connections that one address may have at the hub.
AT_ONCE = 100
LOGIN = "/accounts/login/"


@contextmanager
def browser(hub: Hub, address: str) -> Iterator[httpx.Client]:
    """A browser on a machine with this address, with the login page open."""
    limits = httpx.Limits(max_connections=AT_ONCE, max_keepalive_connections=AT_ONCE)
    transport = httpx.HTTPTransport(local_address=address, limits=limits)
    with httpx.Client(base_url=hub.processes.address, transport=transport, timeout=300) as client:
        client.headers["Accept"] = "text/html"
        found = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', client.get(LOGIN).text)
        assert found
        client.headers["X-CSRFToken"] = found[1]
        yield client


def sign_in(client: httpx.Client, name: str, password: str, **headers: str) -> httpx.Response:
    return client.post(LOGIN, data={"username": name, "password": password}, headers=headers)


def test_of_two_hundred_wrong_passwords_at_once_at_most_ten_are_looked_at_and_only_their_address_is_locked(hub: Hub):
    name = hub.ask(office.create_doctor, f"victim-{secrets.token_hex(4)}", PASSWORD)
    with browser(hub, "127.0.0.2") as attacker, browser(hub, "127.0.0.1") as elsewhere:
        _attack(hub, name, attacker, elsewhere)


def _attack(hub: Hub, name: str, attacker: httpx.Client, elsewhere: httpx.Client) -> None:
    def attempt(number: int) -> httpx.Response:
        told = {"X-Forwarded-For": f"192.0.2.{number}", "X-Real-IP": f"192.0.2.{number}"}
        return sign_in(attacker, name, f"wrong {number}", **told)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        answers = list(pool.map(attempt, range(200)))
    looked_at = [answer for answer in answers if answer.status_code == 200]
    refused = [answer for answer in answers if answer.status_code == 429]
    assert Counter(answer.status_code for answer in answers) == {200: 10, 429: 190}
    assert all("Please enter a correct" in answer.text for answer in looked_at)
    assert all(0 < int(answer.headers["Retry-After"]) <= 900 for answer in refused)
    assert sign_in(attacker, name, PASSWORD).status_code == 429
    assert sign_in(elsewhere, name, PASSWORD).status_code == 302
    (lock,) = hub.ask(office.events, "login.lock", hub.ask(office.actor_of, name))
    assert lock["facts"]["address"] == "127.0.0.2"
