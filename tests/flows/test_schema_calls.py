"""The API called by its own description, with what fits it and what does not, against a hub that runs.

Each of four callers makes every call: nothing is a server's error, no call that wants to know who calls answers without,
and what is answered is what the document says. HOSPINTEL_TEST_EXAMPLES says how many examples a call has (4).
"""

import json
import os
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from harness import Hub
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schema_scene import Scene
from schemathesis import GenerationMode
from schemathesis.config import SchemathesisConfig
from schemathesis.core.failures import Failure, FailureGroup
from schemathesis.specs.openapi import checks

EXAMPLES = int(os.environ.get("HOSPINTEL_TEST_EXAMPLES", "4"))
CHECKS = [
    schemathesis.checks.not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
    checks.ignored_auth,
]
DERANDOMIZED = settings(
    max_examples=EXAMPLES,
    derandomize=True,
    database=None,
    deadline=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)


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
    """The hub's own document, as it serves it."""
    config = SchemathesisConfig.from_dict({"checks": {"not_a_server_error": {"expected-statuses": ["2xx", "3xx", "4xx", 503]}}})
    return schemathesis.openapi.from_dict(scene.http.get("/api/schema").json(), config=config)


@pytest.mark.parametrize("role", ["admin", "doctor", "agent", "anonymous"])
def test_every_call_answers_what_the_document_says(scene: Scene, document: Any, role: str) -> None:
    found: dict[str, str] = {}
    answers: Counter[int] = Counter()
    for result in document.get_all_operations():
        call_by_description(scene, result.ok(), role, found, answers)
    print(role, dict(sorted(answers.items())))
    assert not found, "\n\n".join(found.values())


def call_by_description(scene: Scene, operation: Any, role: str, found: dict[str, str], answers: Counter[int]) -> None:
    """Make an operation's calls; what is not as it should be goes into `found`, once a kind."""
    named = scene.named(operation.path, role)
    headers = scene.headers(role)
    modes = [GenerationMode.POSITIVE, GenerationMode.NEGATIVE]
    kinds = [operation.as_strategy(mode, path_parameters=named) for mode in modes]
    if named:
        kinds.append(operation.as_strategy(GenerationMode.POSITIVE))

    @DERANDOMIZED
    @given(st.one_of(kinds))
    def calls(case: Any) -> None:
        if "wait" in (case.query or {}):
            # Who asks for a task may wait half a minute for it: here nobody does.
            case.query["wait"] = 0
        answer = case.call(scene.hub.processes.address, headers=headers)
        answers[answer.status_code] += 1
        if answer.status_code == 503:
            assert answer.headers["retry-after"]
        try:
            case.validate_response(answer, checks=CHECKS, headers=headers)
        except FailureGroup as group:
            for failure in group.exceptions:
                assert isinstance(failure, Failure)
                found.setdefault(f"{operation.label} {failure.title}", f"{role}: {group}"[:3000])

    try:
        calls()
    except Exception as error:
        error.add_note(f"{operation.label} by {role}")
        raise
