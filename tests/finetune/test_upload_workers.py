"""A worker that is so slow that the clock gives its file to another one: one of them decides, and the file is there."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from test_upload_model import current_head, file_of, quarantined, trained, work

from apps.federation.models import ModelVersion
from apps.federation.pipeline import attempts
from apps.finetune import tasks
from apps.finetune.models import ModelUpload
from apps.finetune.pipeline import lease, upload_model
from hospintel_core import apart


@pytest.fixture
def slow(monkeypatch: Any) -> Callable[[Callable[[], None]], None]:
    """Let something happen while the next file is read."""

    def happens(meanwhile: Callable[[], None]) -> None:
        real = apart.ask

        def ask(*arguments: Any) -> Any:
            monkeypatch.setattr(apart, "ask", real)
            answer = real(*arguments)
            meanwhile()
            return answer

        monkeypatch.setattr(apart, "ask", ask)

    return happens


@pytest.fixture
def impatient(monkeypatch: Any) -> None:
    """The clock gives every file that is being read to another worker."""
    monkeypatch.setattr(attempts, "STALE_SECONDS", -1)
    monkeypatch.setattr(attempts, "QUEUED_SECONDS", -1)
    monkeypatch.setattr(upload_model, "QUEUED_SECONDS", -1)


def received(cast: Any, data: bytes) -> ModelUpload:
    lease.take(cast.north_doctor)
    return upload_model.receive(cast.north_doctor, [data])


@pytest.mark.parametrize("honest", [True, False])
def test_what_is_queued_again_while_its_worker_is_slow_is_decided_once(
    hub: Any, cast: Any, tmp_path: Path, slow: Any, impatient: None, honest: bool
):
    """The first one ends before the second begins, which finds nothing to do."""
    upload = received(cast, file_of(tmp_path, trained(hub) if honest else current_head(hub)))
    slow(tasks.tick)
    tasks.read_model(pk=str(upload.pk))
    upload.refresh_from_db()
    decided = ("PROPOSED", "") if honest else ("REFUSED", "version_unchanged")
    assert (upload.state, upload.code) == decided
    tasks.read_model(pk=str(upload.pk))
    upload.refresh_from_db()
    assert (upload.state, upload.code) == decided
    assert ModelVersion.objects.filter(source="UPLOAD").count() == honest
    assert quarantined() == []


def test_of_two_workers_one_proposes(hub: Any, cast: Any, tmp_path: Path, slow: Any, impatient: None):
    """The second one has ended before the first."""
    upload = received(cast, file_of(tmp_path, trained(hub)))

    def meanwhile() -> None:
        tasks.tick()
        assert work(hub) == 1

    slow(meanwhile)
    tasks.read_model(pk=str(upload.pk))
    upload.refresh_from_db()
    assert upload.state == "PROPOSED"
    assert ModelVersion.objects.filter(source="UPLOAD").count() == 1
    assert len(hub.events(action="model_upload.proposed")) == 1
    assert hub.events(action="model_upload.refused") == []
