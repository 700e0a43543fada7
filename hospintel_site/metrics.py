"""GET /metrics: the whole hub in Prometheus' text format, from whichever web process is asked.

What the database knows is read from it, and what only processes know (how long requests and tasks take) from the sums
that they add to it. No person and no hospital is named, and no figure is of one hospital alone: whoever may read the
metrics runs machines, and may see no hospital's figures in the portal.
"""

import secrets
import shutil
import time
from collections.abc import Iterable, Iterator
from ipaddress import ip_address
from itertools import groupby

from cryptography import x509
from django.conf import settings
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.http import require_GET
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric

from apps.audit.api import deny
from hospintel_site import broker, figures, processes
from hospintel_site.callers import client_address
from hospintel_site.models import Process, Timing
from hospintel_site.timings import BOUNDS

# What a proxy adds. Where we know of none, somebody else is behind what looks like a call from this machine.
_FORWARDED = ("X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Real-IP", "Forwarded", "Via")


@require_GET
def metrics(request: HttpRequest) -> HttpResponse:
    """Answer with the metrics: to this machine, and to who has the token."""
    if not (_has_token(request) or _is_here(request)):
        deny("GET metrics", code="metrics_closed", actor="unknown", address=client_address(request))
        detail = "The metrics are for the hub's own machine and for who has HOSPINTEL_METRICS_TOKEN."
        return JsonResponse({"code": "metrics_closed", "detail": detail}, status=403)
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Hub())
    return HttpResponse(generate_latest(registry), content_type=CONTENT_TYPE_LATEST)


def _has_token(request: HttpRequest) -> bool:
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    given, wanted = token.strip().encode(), settings.METRICS_TOKEN.encode()
    return bool(wanted) and scheme.lower() == "bearer" and secrets.compare_digest(given, wanted)


def _is_here(request: HttpRequest) -> bool:
    """Return whether the call comes from this machine; behind a proxy nobody can be sure of it."""
    address = client_address(request)
    if settings.BEHIND_PROXY or not address or any(name in request.headers for name in _FORWARDED):
        return False
    return ip_address(address).is_loopback


class _Hub:
    """What prometheus_client asks."""

    def collect(self) -> Iterator[Metric]:
        """Read everything once."""
        for part in (_processes, _rounds, _agents, _work, _audit, _machine, _requests, _tasks):
            yield from part()


def _gauge(name: str, text: str, labels: tuple[str, ...], rows: Iterable[tuple[object, ...]]) -> Metric:
    """Make a metric of rows, each of which ends with its value."""
    family = GaugeMetricFamily(f"hospintel_{name}", text, labels=labels)
    for *values, value in rows:
        family.add_metric([str(one) for one in values], float(str(value)))
    return family


def _processes() -> Iterator[Metric]:
    yield _gauge("build_info", "Version of the web process that answers.", ("version",), [(processes.VERSION, 1)])
    alive = processes.alive()
    silent = {kind for kind in Process.Kind.values if not any(kind == one for one, _version in alive)}
    rows = [*((*key, count) for key, count in alive.items()), *((kind, "", 0) for kind in sorted(silent))]
    yield _gauge("processes", "Processes that gave a sign of life lately.", ("kind", "version"), rows)


def _rounds() -> Iterator[Metric]:
    yield _gauge("runs", "Runs by state.", ("federation", "state"), figures.runs())
    yield _gauge("rounds", "Rounds by state and reason.", ("federation", "state", "reason"), figures.rounds())
    text = "Seconds since the open round was opened; none while there is none."
    yield _gauge("round_open_seconds", text, ("federation", "state"), figures.open_rounds())
    updates = figures.updates()
    text = "Updates by state and by the code of their refusal."
    yield _gauge("updates", text, ("state", "code"), [row[:3] for row in updates])
    sealed = CounterMetricFamily("hospintel_update_bytes", "Bytes of sealed updates that were received.")
    sealed.add_metric([], sum(size for *_, size in updates))
    yield sealed
    yield _gauge("versions", "Versions by state.", ("federation", "state"), figures.versions())
    yield _gauge("version_current", "Number of the current version.", ("federation",), figures.current())
    yield _gauge(
        "version_alarm", "1 where the current version is worse than its parent.", ("federation",), figures.alarms()
    )


def _agents() -> Iterator[Metric]:
    yield _gauge("agents", "Agents: online, offline or revoked.", ("federation", "state"), figures.agents())


def _work() -> Iterator[Metric]:
    text = "Rows that wait for a worker."
    waiting = figures.waiting()
    yield _gauge("rows_waiting", text, ("kind",), [(kind, count) for kind, count, _oldest in waiting])
    text = "Seconds for which the oldest of them has waited."
    yield _gauge("rows_waiting_seconds", text, ("kind",), [(kind, oldest) for kind, _count, oldest in waiting])
    text = "Steps that failed three times, and wait for an administrator."
    yield _gauge("steps_parked", text, ("step",), figures.parked())
    yield _gauge("jobs", "Fine-tuning jobs by state.", ("state",), figures.jobs())
    yield _gauge("model_uploads", "Uploaded models by state.", ("state",), figures.model_uploads())
    yield _gauge("lease_held", "1 where somebody holds the fine-tuning lease.", ("federation",), figures.leases())
    try:
        queued = broker.waiting()
    except OSError:
        queued = None
    yield _gauge("broker_up", "1 where the broker answers.", (), [(int(queued is not None),)])
    yield _gauge("queue_messages", "Messages in a queue of the broker.", ("queue",), (queued or {}).items())


def _audit() -> Iterator[Metric]:
    head, signed, signed_at = figures.audit()
    yield _gauge("audit_head_seq", "Number of the last entry of the audit.", (), [(head,)])
    yield _gauge("audit_checkpoint_seq", "Number of the last entry that was signed.", (), [(signed,)])
    if signed_at:
        text = "Seconds since the last checkpoint was signed."
        yield _gauge("audit_checkpoint_age_seconds", text, (), [(max(0.0, time.time() - signed_at),)])


def _machine() -> Iterator[Metric]:
    free = [(name, shutil.disk_usage(path).free) for name, path in figures.folders() if path.exists()]
    yield _gauge("free_bytes", "Free bytes of the disk on which a folder lies.", ("folder",), free)
    if settings.TLS_CERT:
        expires = x509.load_pem_x509_certificate(settings.TLS_CERT.read_bytes()).not_valid_after_utc
        text = "When the certificate in HOSPINTEL_TLS_CERT ends, in seconds since 1970."
        yield _gauge("certificate_expires_seconds", text, (), [(expires.timestamp(),)])


def _requests() -> Iterator[Metric]:
    """Requests by the name of their address. Up to ten seconds old, as is what is said of tasks."""
    rows = list(Timing.objects.filter(what=Timing.What.REQUEST).order_by("name", "outcome"))
    text = "Requests by the class of their status; `gone`: the caller was, before there was one."
    family = CounterMetricFamily("hospintel_http_requests", text, labels=("route", "outcome"))
    for row in rows:
        family.add_metric([row.name, row.outcome], row.count)
    yield family
    routes = [_added(list(same)) for _name, same in groupby(rows, key=lambda row: row.name)]
    yield _histogram("http_request_seconds", "Requests: seconds until the last byte.", ("route",), routes)
    for way in ("in", "out"):
        family = CounterMetricFamily(f"hospintel_http_bytes_{way}", f"Bytes of bodies, {way}.", labels=("route",))
        for row in routes:
            family.add_metric([row.name], getattr(row, f"bytes_{way}"))
        yield family


def _added(rows: list[Timing]) -> Timing:
    """Return one row, never to be saved, with the sums of rows of one name."""
    fields = ("count", "seconds", "bytes_in", "bytes_out", *Timing.BUCKETS)
    sums = {field: sum(getattr(row, field) for row in rows) for field in fields}
    return Timing(what=rows[0].what, name=rows[0].name, **sums)


def _tasks() -> Iterator[Metric]:
    rows = Timing.objects.filter(what=Timing.What.TASK)
    yield _histogram("task_seconds", "Tasks of the workers: seconds each took.", ("task", "outcome"), rows)


def _histogram(name: str, text: str, labels: tuple[str, ...], rows: Iterable[Timing]) -> Metric:
    family = HistogramMetricFamily(f"hospintel_{name}", text, labels=labels)
    for row in rows:
        total, buckets = 0, []
        for bound, field in zip(BOUNDS[row.what], Timing.BUCKETS, strict=True):
            total += getattr(row, field)
            buckets.append((str(bound), float(total)))
        values = [row.name, row.outcome][: len(labels)]
        family.add_metric(values, [*buckets, ("+Inf", float(row.count))], row.seconds)
    return family
