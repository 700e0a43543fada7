"""The pages that describe the API: for anyone, from our own files, under a policy as strict as they bear."""

import re
from pathlib import Path

import pytest
from django.contrib.staticfiles import finders
from django.test import Client

PAGES = ("/docs", "/redoc")


def policy(answer: object) -> dict[str, list[str]]:
    """The directives of the answer's Content-Security-Policy."""
    parts = [part.split() for part in answer.headers["Content-Security-Policy"].split(";")]
    return {name: sources for name, *sources in parts}


@pytest.mark.parametrize("path", PAGES)
def test_anyone_may_read_how_the_api_is_called(client: Client, path: str):
    answer = client.get(path)
    assert answer.status_code == 200
    assert 'data-schema="/api/schema"' in answer.text
    assert client.post(path).status_code == 405


@pytest.mark.parametrize("path", PAGES)
def test_all_files_of_the_page_are_served_by_the_hub(client: Client, path: str):
    text = client.get(path).text
    files = re.findall(r'(?:src|href)="(/static/[^"]+)"', text)
    assert len(files) >= 4
    assert [file for file in files if not finders.find(file.removeprefix("/static/"))] == []
    assert "//" not in re.sub(r"<!doctype[^>]*>", "", text)


def test_swagger_lives_under_the_policy_of_every_page(client: Client):
    assert policy(client.get("/docs")) == policy(client.get("/accounts/login/"))


def test_redoc_may_write_the_two_styles_that_are_named_and_nothing_else(client: Client):
    own, usual = policy(client.get("/redoc")), policy(client.get("/docs"))
    added = own.pop("style-src")
    assert own | {"style-src": usual["style-src"]} == usual
    assert added[0] == "'self'"
    assert [source[:8] for source in added[1:]] == ["'sha256-"] * 2


def test_the_named_styles_are_those_of_the_installed_redoc():
    found = finders.find("drf_spectacular_sidecar/redoc/bundles/redoc.standalone.js.LICENSE.txt")
    assert 'Version: "2.5.4"' in Path(found).read_text(), "look at the console of /redoc and name its styles anew"
