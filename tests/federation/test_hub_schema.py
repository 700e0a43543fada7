"""The OpenAPI document has every call with all its shapes, and docs/api.md is made from it."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.urls import URLPattern, URLResolver, get_resolver
from drf_spectacular.generators import SchemaGenerator
from hub_client import HubClient

from hospintel_site.api_text import written

ROOT = Path(__file__).resolve().parents[2]
# Views that are asked by programs, and are no calls of the API: Django's own, the schema itself.
NO_CALLS = {"schema", "admin:jsi18n", "admin:autocomplete"}


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    return SchemaGenerator().get_schema(request=None, public=True)


def operations(schema: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, found in schema["paths"].items():
        for method, operation in found.items():
            yield f"{method.upper()} {path}", operation


def addresses(patterns: Any = None, prefix: str = "/") -> Iterator[tuple[str, Any]]:
    """Every address of the hub, parameters as the schema writes them, with its view."""
    for pattern in get_resolver().url_patterns if patterns is None else patterns:
        route = prefix + re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", str(pattern.pattern))
        if isinstance(pattern, URLResolver):
            yield from addresses(pattern.url_patterns, route)
        elif isinstance(pattern, URLPattern):
            yield route, pattern


def test_anyone_may_read_the_schema(hub):
    answer = HubClient().get("/api/schema")
    assert answer.status_code == 200
    document = answer.json()
    assert "/api/v1/rounds/{round_id}/update" in document["paths"]
    assert document["components"]["securitySchemes"]["agentToken"] == {"type": "http", "scheme": "bearer"}


def test_every_call_of_the_api_is_in_the_schema(schema):
    wanted = {
        route
        for route, pattern in addresses()
        if pattern.name not in NO_CALLS
        and (route.startswith("/api/") or hasattr(pattern.callback, "cls") or pattern.name in {"healthz", "readyz"})
    }
    assert wanted - set(schema["paths"]) == set()
    assert len(wanted) > 15


def test_every_call_says_in_one_sentence_what_it_does(schema):
    for name, operation in operations(schema):
        assert re.fullmatch(r"[A-Z][^.]+\.", operation["summary"]), name
        assert operation["tags"][0] in {tag["name"] for tag in schema["tags"]}, name


def test_every_call_says_what_it_answers_and_what_it_refuses(schema):
    for name, operation in operations(schema):
        for status, answer in operation["responses"].items():
            for content in answer.get("content", {}).values():
                # "An object" says nothing.
                assert content["schema"].get("$ref") or content["schema"]["type"] == "string", (name, status)
            if status >= "400":
                problem = answer["content"]["application/json"]["schema"]["$ref"]
                assert problem == "#/components/schemas/Problem", (name, status)
                assert re.fullmatch(r"`\w+`(, `\w+`)*", answer["description"]), (name, status)
        assert any(status < "300" for status in operation["responses"]), name
        if operation.get("security") not in (None, [{}]):
            assert operation["responses"].keys() & {"401", "403"}, name


# What is asked for is all in the address.
SEND_NOTHING = {
    "POST /logout",
    "POST /api/v1/logout",
    "POST /api/v1/lease",
    "POST /api/v1/jobs/{job_id}/cancel",
    "POST /api/v1/validation/{set_id}/use",
}


def test_every_field_that_is_sent_has_a_type(schema):
    for name, operation in operations(schema):
        for parameter in operation.get("parameters", []):
            assert parameter["schema"].get("type"), (name, parameter["name"])
        if name.startswith(("POST", "PUT")) and "/{verb}" not in name and name not in SEND_NOTHING:
            assert operation["requestBody"]["content"], name


@pytest.mark.parametrize("path", ["/status", "/api/v1/identity", "/healthz", "/api/v1/events"])
def test_what_a_call_answers_is_what_the_schema_says(hub, cast, schema, path):
    client = HubClient()
    client.force_login(cast.admin)
    answer = schema["paths"][path]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
    assert_fits(client.get(path).json(), answer, schema)


def assert_fits(value: Any, shape: dict[str, Any], schema: dict[str, Any]) -> None:
    """The value has exactly the fields of the shape, at every depth."""
    if "$ref" in shape:
        shape = schema["components"]["schemas"][shape["$ref"].rsplit("/", 1)[1]]
    if value is None:
        assert shape.get("nullable"), shape
    elif "properties" in shape:
        assert value.keys() == shape["properties"].keys()
        for name, inner in shape["properties"].items():
            assert_fits(value[name], inner, schema)
    elif shape.get("type") == "array":
        for item in value:
            assert_fits(item, shape["items"], schema)
    elif shape.get("type"):
        kinds = {"string": str, "integer": int, "number": float, "object": dict, "boolean": bool}
        assert isinstance(value, kinds[shape["type"]]), (value, shape)


def test_the_documentation_is_made_from_the_schema():
    assert (ROOT / "docs/api.md").read_text() == written(), "run `make docs`"
