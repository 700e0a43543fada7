"""The OpenAPI document, and that docs/api.md has every call."""

import re
from pathlib import Path

import pytest
from hub_client import HubClient

from apps.federation.urls import urlpatterns

DOCS = (Path(__file__).resolve().parents[2] / "docs" / "api.md").read_text()


def test_anyone_may_read_the_schema(hub):
    answer = HubClient().get("/api/schema")
    assert answer.status_code == 200
    document = answer.json()
    assert "/api/v1/rounds/{round_id}/update" in document["paths"]
    assert document["components"]["securitySchemes"]["agentToken"] == {"type": "http", "scheme": "bearer"}


@pytest.mark.parametrize("pattern", urlpatterns, ids=lambda pattern: pattern.name)
def test_the_documentation_has_every_call(pattern):
    route = str(pattern.pattern).removeprefix("api/v1/")
    parts = [part for part in re.split(r"<[^>]+>", route) if part.strip("/")]
    assert all(part.strip("/") in DOCS for part in parts)
