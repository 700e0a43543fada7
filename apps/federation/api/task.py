"""`GET /api/v1/federations/<slug>/task?wait=25`: the long poll, and the heartbeat."""

import base64
import re
import time
from datetime import timedelta

from asgiref.sync import sync_to_async
from django.db import close_old_connections
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.utils import timezone
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_GET

from apps.federation.api.base import audit_refusal, federation_of, find_agent, refusal_json
from apps.federation.live import next_change, pause, tasks_of, wait_of
from apps.federation.models import Agent, Round, Run
from apps.federation.pipeline.evaluate import pending_evaluation
from apps.federation.pipeline.receive import attempts_left
from apps.federation.pipeline.step import Next, Refusal
from apps.federation.states import ROUND_ACTIVE, RUN_ACTIVE, RoundState, RunState
from apps.federation.tasks import enqueue

HEARTBEAT_SECONDS = 5
RETRY_AFTER = "1"
Wire = dict[str, str]
_VERSION = re.compile(r"[0-9A-Za-z.+-]{1,40}")


def _wire(body: bytes, signature: bytes, kid: str) -> Wire:
    return {"manifest": body.decode(), "signature": base64.b64encode(signature).decode(), "kid": kid}


def heartbeat(agent: Agent, version: str) -> bool:
    """Note that the agent is there, at most every few seconds. Returns whether it was news."""
    now = timezone.now()
    news = False
    if agent.last_seen is None or agent.last_seen < now - timedelta(seconds=HEARTBEAT_SECONDS):
        # A header that the token's holder chose: what is shown to people is of a fixed alphabet.
        known = version if _VERSION.fullmatch(version) else agent.version
        Agent.objects.filter(pk=agent.pk).update(last_seen=now, version=known)
        news = True
    return news


def find_task(agent: Agent, slug: str) -> Wire | None:
    """Return the signed manifest of what this agent should do now, or None."""
    evaluation = pending_evaluation(agent, slug)
    if evaluation is not None and evaluation.evaluation_manifest is not None:
        body, signature = evaluation.evaluation_manifest, evaluation.evaluation_signature or b""
        return _wire(bytes(body), bytes(signature), evaluation.evaluation_kid)
    collecting = Round.objects.of(slug).filter(state=RoundState.COLLECTING, run__state__in=RUN_ACTIVE)
    round_ = collecting.order_by("-opened_at").first()
    if round_ is None or round_.updates.filter(agent=agent).live().exists() or not attempts_left(agent, round_):
        return None
    return _wire(bytes(round_.manifest), bytes(round_.manifest_signature), round_.manifest_kid)


def _begin(request: HttpRequest, slug: str) -> Agent:
    """Authenticate, note the heartbeat, and nudge a run that waits for agents."""
    agent: Agent | None = None
    try:
        agent = find_agent(request.headers.get("Authorization", ""))
        federation_of(agent, slug)
    except Refusal as refusal:
        audit_refusal(refusal, request, agent)
        raise
    if heartbeat(agent, request.headers.get("X-Hospintel-Version", "")):
        waiting = Run.objects.filter(federation=slug, state=RunState.RUNNING)
        idle = waiting.exclude(all_rounds__state__in=ROUND_ACTIVE)
        enqueue(Next("open", pk) for pk in idle.values_list("pk", flat=True))
    return agent


def _look(agent: Agent, slug: str) -> Wire | None:
    try:
        return find_task(agent, slug)
    finally:
        # A poll waits for up to a minute: it holds no database connection meanwhile.
        close_old_connections()


@csrf_exempt
@require_GET
async def task(request: HttpRequest, slug: str) -> HttpResponse:
    """Answer with a signed manifest at once, or as soon as there is one, or 204 when the wait is over."""
    try:
        agent = await sync_to_async(_begin)(request, slug)
    except Refusal as refusal:
        return refusal_json(refusal)
    until = time.monotonic() + wait_of(request.GET.get("wait"))
    while True:
        changed = await next_change(tasks_of(slug))
        found = await sync_to_async(_look)(agent, slug)
        if found is not None:
            return JsonResponse(found)
        left = until - time.monotonic()
        if left <= 0:
            return HttpResponse(status=204, headers={"Retry-After": RETRY_AFTER})
        await pause(changed, left)
