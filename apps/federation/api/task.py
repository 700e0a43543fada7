"""`GET /api/v1/federations/<slug>/task?wait=25`: the long poll, and the heartbeat."""

import base64
import time
from collections.abc import Callable, Coroutine
from datetime import timedelta
from typing import Any, ParamSpec, TypeVar

from asgiref.sync import sync_to_async
from django.db import close_old_connections
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_GET
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema

from apps.federation.api.base import (
    AgentAuthentication,
    audit_refusal,
    federation_of,
    find_agent,
    heartbeat,
    note_seen,
    refusal_json,
)
from apps.federation.api.shapes import Task, agent_refusals
from apps.federation.live import MAX_WAIT, next_change, pause, tasks_of, wait_of
from apps.federation.models import Agent, Round, Run
from apps.federation.pipeline.attend import come_back
from apps.federation.pipeline.choose import is_asked, passed_over
from apps.federation.pipeline.evaluate import pending_evaluation
from apps.federation.pipeline.receive import attempts_left
from apps.federation.pipeline.step import Next, Refusal
from apps.federation.states import ROUND_ACTIVE, RUN_ACTIVE, RoundState, RunState
from apps.federation.tasks import enqueue
from hospintel_site.openapi import in_schema

RETRY_AFTER = "1"
# In a 204: the rounds that asked other agents, each as id, number, id of its run.
OTHERS = "X-Hospintel-Not-Selected"
Wire = dict[str, str]
Parameters = ParamSpec("Parameters")
Returned = TypeVar("Returned")


def _wire(body: bytes, signature: bytes, kid: str) -> Wire:
    return {"manifest": body.decode(), "signature": base64.b64encode(signature).decode(), "kid": kid}


def find_task(agent: Agent, slug: str) -> Wire | None:
    """Return the signed manifest of what this agent should do now, or None."""
    evaluation = pending_evaluation(agent, slug)
    if evaluation is not None and evaluation.evaluation_manifest is not None:
        body, signature = evaluation.evaluation_manifest, evaluation.evaluation_signature or b""
        return _wire(bytes(body), bytes(signature), evaluation.evaluation_kid)
    collecting = Round.objects.of(slug).filter(state=RoundState.COLLECTING, run__state__in=RUN_ACTIVE)
    round_ = collecting.select_related("run").order_by("-opened_at").first()
    if (
        round_ is None
        or not is_asked(agent, round_)
        or round_.updates.filter(agent=agent).live().exists()
        or not attempts_left(agent, round_)
    ):
        return None
    return _wire(bytes(round_.manifest), bytes(round_.manifest_signature), round_.manifest_kid)


def _nothing(agent: Agent, slug: str) -> HttpResponse:
    """Answer that there is nothing to do, and for which rounds others were asked."""
    headers = {"Retry-After": RETRY_AFTER}
    try:
        if others := passed_over(agent, slug, timedelta(seconds=2 * MAX_WAIT)):
            headers[OTHERS] = ", ".join(f"{round_.pk} {round_.number} {round_.run_id}" for round_ in others)
    finally:
        close_old_connections()
    return HttpResponse(status=204, headers=headers)


def _in_pool(function: Callable[Parameters, Returned]) -> Callable[Parameters, Coroutine[Any, Any, Returned]]:
    """Run in the process's pool of threads: thread-sensitive, each waiting poll would keep a thread of its own."""
    return sync_to_async(function, thread_sensitive=False)


def _begin(request: HttpRequest, slug: str) -> Agent:
    """Authenticate, note the heartbeat, and nudge a run that waits for agents."""
    agent: Agent | None = None
    try:
        agent = find_agent(request.headers.get("Authorization", ""))
        federation_of(agent, slug)
        come_back(agent, slug)
        if heartbeat(agent, request):
            waiting = Run.objects.filter(federation=slug, state=RunState.RUNNING)
            idle = waiting.exclude(all_rounds__state__in=ROUND_ACTIVE)
            enqueue(Next("open", pk) for pk in idle.values_list("pk", flat=True))
    except Refusal as refusal:
        audit_refusal(refusal, request, agent)
        raise
    finally:
        # The next step may be another thread's: this one would keep its connection, of which there are few.
        close_old_connections()
    return agent


def _look(agent: Agent, slug: str) -> Wire | None:
    try:
        found = find_task(agent, slug)
        if found is not None:
            # The wait may have begun before there was a task: whoever asks later who has called since sees that it has.
            note_seen(agent)
        return found
    finally:
        # A poll waits for up to a minute: it holds no database connection meanwhile.
        close_old_connections()


@in_schema(
    extend_schema(
        tags=["Agents"],
        parameters=[OpenApiParameter("wait", float, description="Seconds, at most 60; 0 answers at once.")],
        responses={
            200: Task,
            204: OpenApiResponse(
                description="Nothing to do; `Retry-After` says when to ask again. `X-Hospintel-Not-Selected` names the "
                "newest rounds that ask other agents, each as id, number and id of the run, with commas between them."
            ),
            **agent_refusals({404: "federation_unknown"}),
        },
    ),
    [AgentAuthentication],
)
@csrf_exempt
@require_GET
async def task(request: HttpRequest, slug: str) -> HttpResponse:
    """Answer with a signed manifest at once, or as soon as there is one, or 204 when the wait is over."""
    try:
        agent = await _in_pool(_begin)(request, slug)
    except Refusal as refusal:
        return refusal_json(refusal)
    until = time.monotonic() + wait_of(request.GET.get("wait"))
    while True:
        changed = await next_change(tasks_of(slug))
        found = await _in_pool(_look)(agent, slug)
        if found is not None:
            return JsonResponse(found)
        left = until - time.monotonic()
        if left <= 0:
            return await _in_pool(_nothing)(agent, slug)
        await pause(changed, left)
