"""What every call says of itself in the OpenAPI document: its refusals, and the plain views among them."""

from collections.abc import Callable
from typing import Any, TypeVar

from drf_spectacular.utils import OpenApiResponse
from rest_framework import serializers
from rest_framework.views import APIView

View = TypeVar("View", bound=Callable[..., Any])
V1 = "/api/v1/"
ABOUT = """\
Hospitals train one brain-MRI classifier together without any scan leaving its hospital.

**Who calls.** Agents send `Authorization: Bearer <token>`. The token reads; what changes a round is signed with the
agent's key. People's programs send the token that `POST /login` gives them (`hip_...`, for twelve hours) the same
way; a browser comes with its session and, for anything but GET, its CSRF token. What a caller may not see answers 404.

**Errors** are `{"code", "detail"}` with a status: `code` is stable, `detail` is a sentence. All cryptographic refusals
are `update_refused` or `report_refused`; which check failed is in the audit. A body that is too large or too slow is
answered before the application sees it: 413 `body_too_large`, 408 `request_too_slow`; while many large files come in at
once, others are 503 `hub_busy`. While the database does not answer, any call may be 503 `database_away` with
Retry-After: it can be made again as it was.

**Live.** `/ws/events/` sends what `GET /api/v1/events` lists as it happens, to signed-in people, from pages of the same
origin. `spread` beside `events` asks for patience where very many listen: whoever then asks for more waits at random,
at most so many seconds.
"""
# What a body may be answered before the application sees it (server.py).
BODY_REFUSALS = {408: "request_too_slow", 413: "body_too_large"}
TAGS = {
    "Everyone": "Open to anyone.",
    "Agents": "What a hospital's agent calls, with its token; enrolment with a one-time code.",
    "Model": "The whole model, for agents of the federation, doctors and admins.",
    "People": "For everyone who is signed in.",
    "Workbench": "Fine-tuning by a doctor: the lease, jobs under it, and models that were trained elsewhere.",
    "Admins": "Runs and versions. The same by command: `manage.py start_run`, `manage.py run`, `manage.py versions`.",
}


class Problem(serializers.Serializer[None]):
    """Every error of every call."""

    code = serializers.CharField(help_text="Stable, for programs.")
    detail = serializers.CharField(help_text="A sentence for people.")


class Alive(serializers.Serializer[None]):
    """A sign of life."""

    status = serializers.CharField()


class Checks(serializers.Serializer[None]):
    """What the hub needs: each `ok`, `failed`, or `unknown` where the database has to tell and does not answer."""

    database = serializers.CharField()
    broker = serializers.CharField()
    storage = serializers.CharField()
    migrations = serializers.CharField()
    keys = serializers.CharField()
    tick = serializers.CharField()
    workers = serializers.CharField()


class Readiness(serializers.Serializer[None]):
    """Whether the hub can do its work."""

    status = serializers.CharField()
    checks = Checks()


def refusals(by_status: dict[int, str]) -> dict[int, OpenApiResponse]:
    """Return the error responses of a call.

    Args:
        by_status: HTTP status -> the codes that come with it, separated by spaces.
    """
    return {
        status: OpenApiResponse(Problem, description=", ".join(f"`{code}`" for code in codes.split()))
        for status, codes in by_status.items()
    }


def _problem(codes: str) -> dict[str, Any]:
    schema = {"$ref": "#/components/schemas/Problem"}
    return {"content": {"application/json": {"schema": schema}}, "description": f"`{codes}`"}


def in_schema(description: Callable[[Any], Any], authentication: list[type] | None = None) -> Callable[[View], View]:
    """Return a decorator that has a plain view, which answers GET, stand in the schema like the framework's.

    A view that waits or streams is asynchronous, which DRF is not: the schema asks a stand-in what the call is.

    Args:
        description: an `extend_schema(...)`.
        authentication: the DRF authentication classes that do what the view does by hand.
    """

    def mark(view: View) -> View:
        def get(self: APIView, request: Any, **kwargs: Any) -> None:
            """Only described, never called."""

        get.__doc__ = view.__doc__
        stand_in = type(
            f"{view.__name__}_view",
            (APIView,),
            {"get": description(get), "authentication_classes": authentication or [], "__doc__": view.__doc__},
        )
        # What drf-spectacular looks for to tell the calls of the API from other views.
        vars(view).update(cls=stand_in, initkwargs={})
        return view

    return mark


def finish(result: dict[str, Any], **_: object) -> dict[str, Any]:
    """Add what is true of all calls, and give each operation its one sentence as the summary."""
    result["info"]["description"] = ABOUT
    result["tags"] = [{"name": name, "description": text} for name, text in TAGS.items()]
    for path, operations in result["paths"].items():
        for operation in operations.values():
            sentence, _, more = operation.pop("description", "").partition("\n\n")
            if not path.startswith(V1) and V1 + path.lstrip("/") in result["paths"]:
                more = f"The same call as `{V1}{path.lstrip('/')}`, at its original address. {more}"
            if "requestBody" in operation:
                for status, codes in BODY_REFUSALS.items():
                    operation["responses"].setdefault(str(status), _problem(codes))
            operation["responses"] = dict(sorted(operation["responses"].items()))
            operation["summary"] = " ".join(sentence.split())
            if more.strip():
                operation["description"] = more.strip()
    return result
