"""What anybody may send to the hub: headers, queries, JSON, forms, an agent's report."""

import base64
import io
import json
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import django
from fuzz_parsers import Parser

django.setup()

from django.core.exceptions import BadRequest, RequestDataTooBig, SuspiciousOperation  # noqa: E402
from django.http import HttpRequest  # noqa: E402
from django.http.multipartparser import MultiPartParserError  # noqa: E402
from django.test import RequestFactory  # noqa: E402
from django.utils import timezone  # noqa: E402
from rest_framework.exceptions import APIException  # noqa: E402

from apps.federation.api import agents, events, files, reports, runs, updates, versions, witness  # noqa: E402
from apps.federation.live import wait_of  # noqa: E402
from apps.federation.pipeline import evaluate  # noqa: E402
from apps.federation.pipeline.step import Refusal  # noqa: E402
from apps.finetune.api import jobs, sign_in  # noqa: E402
from hospintel_core.errors import CoreError  # noqa: E402
from hospintel_core.plan import Plan  # noqa: E402
from hospintel_site import limits  # noqa: E402
from hospintel_site.callers import client_address  # noqa: E402
from hospintel_site.parsers import StrictJSONParser  # noqa: E402
from hospintel_site.uploads import UnnamedFileUploadHandler  # noqa: E402

FORM = "multipart/form-data"
BODIES: tuple[tuple[Any, dict[str, Any]], ...] = (
    (agents.EnrolRequest, {"code": "c" * 43, "public_key": "a" * 44, "proof": "b" * 88, "agent_version": "0.1.0"}),
    (reports.ReportRequest, {"body": "{}", "signature": base64.b64encode(bytes(64)).decode()}),
    (runs.RunRequest, {"rounds": 3, "plan": {"epochs": 2, "learning_rate": 0.001, "mirror": False}}),
    (versions.DecisionRequest, {"reason": "worse on one class"}),
    (witness.KeptCheckpoint, {"kept": ""}),
    (jobs.JobRequest, {"base": 1}),
    (jobs.TrainRequest, {"epochs": 3, "propose": True, "note": "n"}),
    (jobs.LabelRequest, {"class_name": "glioma"}),
    (sign_in.LoginRequest, {"username": "doctor", "password": "p", "otp": "123456"}),
)
AGENT = SimpleNamespace(pk=UUID(int=2), max_samples=1000)
ABOUT = SimpleNamespace(
    pk=UUID(int=3),
    version=SimpleNamespace(digest="a" * 64),
    run=SimpleNamespace(federation=SimpleNamespace(uuid=UUID(int=1), classes=["a", "b", "c", "d"])),
)


def read_body(data: bytes) -> None:
    """The first byte says which call's body it is."""
    kind, _ = BODIES[data[0] % len(BODIES)] if data else BODIES[0]
    asked = kind(data=StrictJSONParser().parse(io.BytesIO(data[1:])))
    asked.is_valid(raise_exception=True)
    fields = asked.validated_data
    if kind is agents.EnrolRequest:
        agents._bytes(fields["public_key"])
    elif kind is runs.RunRequest:
        Plan.from_dict({**Plan().to_dict(), **fields["plan"]})
    elif kind is witness.KeptCheckpoint and fields["kept"]:
        witness._note(fields["kept"])


def read_form(data: bytes) -> None:
    """As the hub's views do: the text fields, and whole files through its upload handlers."""
    boundary, _, body = data.partition(b"\n")
    kind = f"{FORM}; boundary={boundary.decode('latin-1')}"
    request: HttpRequest = RequestFactory().generic("POST", "/update", body, kind)
    if len(body) % 2:
        # What large files are written by: none here is large enough to be given to it.
        request.upload_handlers = [UnnamedFileUploadHandler(request)]
    for name in ("class_name", "folder", "note"):
        str(request.POST.get(name, ""))
    for file in request.FILES.getlist("file"):
        assert len(file.read()) == file.size


def read_headers(data: bytes) -> None:
    """One text, as each of the headers and fields of a query that are looked into."""
    text = data.decode("latin-1")
    span = files._span(text, 1000)
    assert span is None or 0 <= span[0] <= span[1] < 1000
    assert 0 <= wait_of(text) <= 60
    assert 0 <= events.number_of(text) < 10**19
    limits.limit_for(text, authorization=True, cookie=True)
    request: HttpRequest = RequestFactory().get("/", REMOTE_ADDR=text)
    assert len(client_address(request)) < 50
    for read in (updates._digest_of, lambda value: updates._whole_number(value, "offset")):
        try:
            read(text)
        except Refusal:
            continue


def read_report(data: bytes) -> None:
    evaluate._parse_report(AGENT, ABOUT, data)  # type: ignore[arg-type] # of the rows these are all that is asked


def bodies() -> list[bytes]:
    return [bytes([number]) + json.dumps(body).encode() for number, (_, body) in enumerate(BODIES)]


def forms() -> list[bytes]:
    head = b'--x\r\nContent-Disposition: form-data; name="'
    text = head + b'class_name"\r\n\r\nglioma\r\n'
    file = head + b'file"; filename="a.png"\r\nContent-Type: image/png\r\n\r\n\x89PNG\r\n'
    packed = head + b'file"; filename="b.png"\r\nContent-Transfer-Encoding: base64\r\n\r\nQUJD\r\n'
    return [b"x\n" + text + file + b"--x--\r\n", b"x\n" + packed + b"--x--\r\n"]


def report() -> list[bytes]:
    counts = {"confusion": [[1, 0, 0, 0]] * 4, "loss_micro": 5, "train_ms": 0}
    body = {
        "agent": str(AGENT.pk),
        "federation": str(UUID(int=1)),
        "issued_ms": int(timezone.now().timestamp() * 1000),
        "model": "a" * 64,
        "report": counts,
        "round": str(ABOUT.pk),
    }
    return [json.dumps(body).encode()]


FAMILY = {
    "JSON bodies": Parser(read_body, (APIException, Refusal, CoreError), bodies),
    "forms": Parser(read_form, (MultiPartParserError, BadRequest, SuspiciousOperation, RequestDataTooBig), forms),
    "headers": Parser(read_headers, (), lambda: [b"bytes=0-99", b"25.5", b"127.0.0.1", b"a" * 64, b"7"]),
    "report": Parser(read_report, (CoreError,), report),
}
