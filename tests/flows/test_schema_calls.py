"""The API called by its own description, with what fits it and what does not, against a hub that runs.

Each of four callers makes every call: nothing is a server's error, no call that wants to know who calls answers
without, what is answered is what the document says, and what each call is for is done by whom it is for, or refused by
the pipeline. HOSPINTEL_TEST_EXAMPLES says how many examples of a kind a call has; of more than one everybody who is
known to a call sends them, of one only whom it is for.
"""

import os
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from harness import Hub
from hypothesis import HealthCheck, Phase, given, settings
from schema_scene import V1, Scene
from schemathesis import GenerationMode
from schemathesis.config import SchemathesisConfig
from schemathesis.core.failures import FailureGroup
from schemathesis.specs.openapi import checks

EXAMPLES = int(os.environ.get("HOSPINTEL_TEST_EXAMPLES", "1"))
CHECKS = [
    schemathesis.checks.not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
    checks.ignored_auth,
]
# By the operation's tag: who does what it is for.
DOERS = {"Everyone": "anonymous", "Agents": "agent", "Model": "doctor", "People": "doctor", "Workbench": "doctor"}
# By which of the document's schemes each says who it is.
SCHEMES = {"agent": "agentToken", "doctor": "personToken", "admin": "personToken"}
# What cannot be done in the middle of everything else gets as far as the pipeline, which says no.
REFUSED = {
    "POST /api/v1/jobs/{job_id}/propose": "job_state",
    "POST /api/v1/jobs/{job_id}/train": "class_missing",
    "POST /api/v1/rounds/{round_id}/report": "round_closed",
    "POST /api/v1/validation/{set_id}/use": "scans_few",
}
DERANDOMIZED = settings(
    max_examples=EXAMPLES,
    derandomize=True,
    database=None,
    deadline=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)


@schemathesis.deserializer("application/x-ndjson")
def lines(context: Any, response: Any) -> str:
    """The document says of lines of JSON that they are text."""
    return str(response.content.decode())


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """A hub of its own: what is called here ends whatever it finds."""
    hub = Hub(tmp_path_factory.mktemp("described"))
    scene = Scene(hub)
    yield scene
    scene.close()
    hub.close()


@pytest.fixture(scope="module")
def document(scene: Scene) -> Any:
    """The hub's own document, as it serves it; that a file is still being written is no error of the server."""
    expected = {"not_a_server_error": {"expected-statuses": ["2xx", "3xx", "4xx", 503]}}
    config = SchemathesisConfig.from_dict({"base-url": scene.hub.processes.address, "checks": expected})
    return schemathesis.openapi.from_dict(scene.http.get("/api/schema").json(), config=config)


@pytest.mark.parametrize("role", ["agent", "admin", "doctor", "anonymous"])
def test_every_call_answers_what_the_document_says(scene: Scene, document: Any, role: str) -> None:
    caller = Caller(scene, role)
    for result in document.get_all_operations():
        caller.make_calls(result.ok())
    assert not caller.found, "\n\n".join(caller.found.values())
    assert not caller.wrong


class Caller:
    """One of those who call, what they were answered, and what is not as it should be, once a kind."""

    def __init__(self, scene: Scene, role: str) -> None:
        self.scene = scene
        self.role = role
        self.answers: dict[str, set[tuple[int, str]]] = defaultdict(set)
        self.found: dict[str, str] = {}
        self.wrong: dict[str, tuple[str, set[tuple[int, str]]]] = {}

    def make_calls(self, operation: Any) -> None:
        """Make an operation's calls: the one that it is for, and what else the document says or does not."""
        label, answers = operation.label, self.answers[operation.label]
        self.call_in_earnest(operation)
        if not self.is_known(operation):
            if any(status not in {401, 403} for status, _ in answers):
                self.wrong[label] = "answered to who is not known there", answers
            return
        wanted = REFUSED.get(label)
        is_done = any(status < 300 if wanted is None else code == wanted for status, code in answers)
        is_doer = self.role == DOERS.get(operation.tags[0], "admin")
        if is_doer and not is_done:
            self.wrong[label] = "not done", answers
        # The original addresses are the same calls once more.
        if (is_doer or EXAMPLES > 1) and operation.path.startswith(V1):
            for mode, is_named in kinds(operation):
                self.call_with_examples(operation, mode, is_named=is_named)

    def is_known(self, operation: Any) -> bool:
        """Whether the operation knows this kind of caller, by what the document says of it."""
        schemes = operation.definition.raw.get("security", [{}])
        return any(not scheme or SCHEMES.get(self.role) in scheme for scheme in schemes)

    def call_in_earnest(self, operation: Any) -> None:
        """Send what whoever means it sends; who calls may not be who may do that."""
        path = self.scene.named(operation.path, self.role)
        sent = self.scene.in_earnest(operation.label)
        self.call(operation.Case(path_parameters=path | sent.pop("path", {}), **sent))

    def call_with_examples(self, operation: Any, mode: GenerationMode, *, is_named: bool) -> None:
        """Send what the document allows, or does not."""
        more = {"path_parameters": self.scene.named(operation.path, self.role)} if is_named else {}

        @DERANDOMIZED
        @given(operation.as_strategy(mode, **more))
        def calls(case: Any) -> None:
            self.call(case)

        calls()

    def call(self, case: Any) -> None:
        """Send this, and look at the answer."""
        if "wait" in (case.query or {}):
            # Who asks for a task may wait half a minute for it: here nobody does.
            case.query["wait"] = 0
        headers = self.scene.headers(self.role)
        answer = case.call(headers=headers)
        label = case.operation.label
        self.answers[label].add((answer.status_code, code_of(answer)))
        if label.endswith("logout"):
            self.scene.signed_out(self.role)
        if answer.status_code == 503:
            assert answer.headers["retry-after"]
        try:
            case.validate_response(answer, checks=CHECKS, headers=headers)
        except FailureGroup as group:
            for failure in group.exceptions:
                self.found.setdefault(f"{label} {failure.title}", f"{self.role}: {group}"[:3000])


def kinds(operation: Any) -> Iterator[tuple[GenerationMode, bool]]:
    """Which calls are made up: fitting or not, to what is there or to what is not."""
    if operation.query or operation.headers or operation.body:
        yield GenerationMode.POSITIVE, True
        yield GenerationMode.NEGATIVE, True
    if operation.path_parameters:
        yield GenerationMode.POSITIVE, False


def code_of(answer: Any) -> str:
    """The code of a refusal, or nothing."""
    is_json = answer.headers.get("content-type", [""])[0].startswith("application/json")
    return str(answer.json().get("code", "")) if is_json else ""
