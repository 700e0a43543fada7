"""The OpenAPI document as a text to read: docs/api.md."""

from collections.abc import Iterator
from typing import Any

from drf_spectacular.generators import SchemaGenerator

HEAD = """\
# REST API

<!-- Made from the OpenAPI document by `make docs`; the texts stand beside the code of each call. -->

"""
MORE = """\
A running hub serves the document itself at `/api/schema`, as pages at `/docs` (with a button that tries the calls that
only read) and `/redoc`. What a sealed update is: [wire-format.md](wire-format.md).

**A day by calls** under `/api/v1`, as `tests/flows/day_by_api.py` does it with `requests` alone (`nine_calls.py` beside
it: the original nine). Analysing a scan is for the page, which sends it to nobody; programs take the model.

| who | calls | what to know |
| --- | --- | --- |
| doctor | `POST login`, `POST lease` | Signing in takes the lease if it is free; `mine` says who has it. \
For doctors whose hospital takes part: others are signed in, without it, \
and get `not_a_member` for what follows. |
| | `GET model` | While it is written: 503, and `Retry-After` says when to ask again. |
| | `POST jobs`, then `POST jobs/<id>/scans` for each class | Any number of `file` fields, at most 32 MB a call; what \
was left out is in `refused`. |
| | `POST jobs/<id>/train` with `propose`, then `GET jobs/<id>` | Until `version`, the id of what waits for review, \
or `code` or `not_proposed`, which say why there is none; `progress` has the loss of each epoch, `figures` before and \
after. |
| | or `train` without it, and then `POST jobs/<id>/propose` | To look at `figures` first, once `ended_at` is there. \
The `id` of the answer is the version's. |
| admin | `POST login` with `otp` | A code of the app is good once. |
| | `GET federations/brain-mri/versions` | What waits is `HELD`, with what its job `measured`; the `id` of each is \
for the next calls. |
| | `POST federations/brain-mri/runs` | The first round opens when enough agents are online: `GET status`. |
| | `POST models/<id>/publish` | An open round ends: `GET events` has `round.failed` with the reason `superseded`, \
then `round.open` with the new `version`. |
| | `POST models/<id>/rollback` | Answers with a new version that has the old digest; an open round ends in the same \
way. |
| both | `POST logout` | Token and lease are gone. |
"""
Schema = dict[str, Any]


def written() -> str:
    """Return docs/api.md as the code now says it."""
    schema: Schema = SchemaGenerator().get_schema(request=None, public=True)  # type: ignore[no-untyped-call]
    sections = [_section(schema, tag) for tag in schema["tags"]]
    return f"{HEAD}{schema['info']['description']}\n{MORE}\n" + "\n".join(sections)


def _section(schema: Schema, tag: Schema) -> str:
    lines = [f"## {tag['name']}", "", tag["description"], ""]
    for path, operations in schema["paths"].items():
        for method, operation in operations.items():
            if tag["name"] in operation["tags"]:
                lines += _call(schema, f"{method.upper()} {path}", operation)
    return "\n".join(lines)


def _call(schema: Schema, name: str, operation: Schema) -> Iterator[str]:
    yield f"### `{name}`"
    yield ""
    yield " ".join(filter(None, [operation["summary"], operation.get("description")]))
    yield ""
    told = [*_parameters(operation), *_request(schema, operation)]
    if told:
        yield from ("| field | where | what |", "| --- | --- | --- |", *told, "")
    yield from ("| status | answer |", "| --- | --- |")
    for status, answer in sorted(operation["responses"].items()):
        yield f"| {status} | {_answer(schema, answer)} |"
    yield ""


def _parameters(operation: Schema) -> Iterator[str]:
    for parameter in operation.get("parameters", []):
        kind = _kind(parameter["schema"])
        wanted = "" if parameter.get("required") else ", may be left out"
        yield f"| `{parameter['name']}` | {parameter['in']}{wanted} | {_joined(kind, parameter.get('description'))} |"


def _request(schema: Schema, operation: Schema) -> Iterator[str]:
    # Of the media types that a call reads, the first says it all: the fields are the same.
    for media, content in list(operation.get("requestBody", {}).get("content", {}).items())[:1]:
        body = _resolved(schema, content["schema"])
        for field, what in body.get("properties", {}).items():
            wanted = "" if field in body.get("required", []) else ", may be left out"
            yield f"| `{field}` | body{wanted} | {_joined(_kind(_resolved(schema, what)), what.get('description'))} |"
        if "properties" not in body:
            yield f"| | body | {media} |"


def _answer(schema: Schema, answer: Schema) -> str:
    told = [answer["description"]] if answer.get("description") else []
    for media, content in answer.get("content", {}).items():
        body = _resolved(schema, content["schema"])
        if content["schema"].get("$ref", "").endswith("/Problem"):
            continue
        told.append(_fields(schema, body) if "properties" in body else media)
    return " ".join(told) or "nothing"


def _fields(schema: Schema, body: Schema) -> str:
    return "`{" + ", ".join(_field(schema, name, what) for name, what in body["properties"].items()) + "}`"


def _field(schema: Schema, name: str, what: Schema) -> str:
    inner = _resolved(schema, what.get("items", {}))
    if "properties" in inner:
        return f"{name}: [{_fields(schema, inner).strip('`')}, …]"
    return name


def _resolved(schema: Schema, what: Schema) -> Schema:
    if "$ref" not in what:
        return what
    found: Schema = schema["components"]["schemas"][what["$ref"].rsplit("/", 1)[1]]
    return found


def _kind(what: Schema) -> str:
    if "enum" in what:
        return ", ".join(f"`{value}`" for value in what["enum"])
    return str({"string": "text", "object": "object"}.get(what.get("type", ""), what.get("type", "")))


def _joined(kind: str, description: str | None) -> str:
    return f"{kind}: {description}" if description else kind
