"""All addresses of the hub, as the URL resolver knows them, and what a row of the matrix asks."""

from collections.abc import Iterator
from json import dumps
from typing import Any

from django.db import connection
from django.urls import URLPattern, URLResolver, get_resolver, reverse
from hub_client import HubClient
from matrix import LOGIN, Row
from scene import Scene

PASSING = {"django_session", "federation_agent", "audit_audithead"}
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
# Django admin's addresses without a name: a redirect of old addresses, and the page for what is not there.
NAMELESS = {"<path:object_id>/", "(?P<url>.*)$"}


def addresses(patterns: Any = None, prefix: str = "") -> Iterator[str]:
    """The qualified names of all addresses; what has none is named by its route."""
    for pattern in get_resolver().url_patterns if patterns is None else patterns:
        if isinstance(pattern, URLResolver):
            inner = f"{prefix}{pattern.namespace}:" if pattern.namespace else prefix
            yield from addresses(pattern.url_patterns, inner)
        elif isinstance(pattern, URLPattern):
            yield prefix + (pattern.name or f"nameless {pattern.pattern}")


def prepared(row: Row, scene: Scene) -> Scene:
    """The scene as the row needs it."""
    if row.before is not None:
        row.before(scene)
    return scene


def changes(row: Row, caller: str) -> bool:
    """Whether the call goes through and changes something."""
    answer = row.answers[caller]
    return row.method != "GET" and isinstance(answer, int) and answer < 400


def call(scene: Scene, row: Row, caller: str, method: str = "", **options: Any) -> int | str:
    """Make the call of a row, or one with another method at the same address; what does the caller get?"""
    return got(row, scene, send(scene, row, caller, method, **options))


def send(scene: Scene, row: Row, caller: str, method: str = "", **options: Any) -> Any:
    """Make the call and return the answer."""
    return send_with(scene.client(caller, **options), scene, row, caller, method)


def send_with(client: HubClient, scene: Scene, row: Row, caller: str, method: str = "") -> Any:
    """Make the call with this client and return the answer."""
    path = reverse(row.name, kwargs=dict(row.path(scene))) + row.query
    headers, json, form = (
        sent(scene, caller) if callable(sent) else sent for sent in (row.headers, row.json, row.form)
    )
    if (method or row.method) == "GET":
        return client.get(path, headers=headers)
    if method and method != row.method:
        return client.generic(method, path, headers=headers)
    if json is not None:
        return client.generic(row.method, path, dumps(json), content_type="application/json", headers=headers)
    if row.method == "POST":
        return client.post(path, form or {}, headers=headers)
    return client.generic(row.method, path, b"x", content_type="application/octet-stream", headers=headers)


def got(row: Row, scene: Scene, answer: Any) -> int | str:
    """What the caller got, in the matrix' words."""
    if row.sees is not None and answer.status_code == 200:
        return row.sees(scene, answer)
    location = answer.headers.get("Location", "")
    if answer.status_code == 302:
        for door in (LOGIN, "/admin/login/?next="):
            if location.startswith(door):
                return door
    status: int = answer.status_code
    return status


def content() -> dict[str, list[Any]]:
    """All rows of the database but sessions, what is known of agents' last calls, and refusals in the audit."""
    with connection.cursor() as cursor:
        found = {}
        for name in set(connection.introspection.table_names(cursor)) - PASSING:
            cursor.execute(f'SELECT * FROM "{name}"')
            rows = [tuple(bytes(v) if isinstance(v, memoryview) else v for v in row) for row in cursor.fetchall()]
            found[name] = sorted(rows, key=repr)
    found["audit_auditentry"] = [row for row in found["audit_auditentry"] if "denied" not in row]
    return found
