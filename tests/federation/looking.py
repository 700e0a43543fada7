"""Look at the portal's pages as a person does."""

import re
from html import unescape

from hub_client import HubClient

BROWSER = {"Accept": "text/html"}
LIVE = BROWSER | {"X-Fragment": "live"}


def browser(person):
    client = HubClient()
    client.force_login(person)
    return client


def text(answer):
    """What a reader sees: the page without its tags."""
    assert answer.status_code == 200, answer.content
    return unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", answer.content.decode())))


def see(person, address="/"):
    return text(browser(person).get(address, headers=BROWSER))


def page_number(person, number):
    return browser(person).get(f"/rounds/?page={number}", headers=BROWSER).content.decode()


def do(person, address, **fields):
    """Send a form, and return what is said on the page that comes next."""
    client = browser(person)
    answer = client.post(address, fields)
    assert answer.status_code == 302, answer.content
    return text(client.get(answer.headers["Location"], headers=BROWSER))


def page_of(round_):
    return f"/rounds/{round_.pk}/"
