"""Local work: fetch the model, train or evaluate the head on the hospital's features, keep the delta."""

import hashlib
import json
import logging
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np

from client_agent.agent import Agent
from client_agent.config import write_private
from client_agent.errors import AgentError, HubRefusedError, storing
from client_agent.hub import ENDED
from client_agent.journal import Row, State
from client_agent.scans import Split
from client_agent.task import Task
from hospintel_core import architectures, signing, weights
from hospintel_core.architectures import Architecture
from hospintel_core.errors import TrainingError, WeightsError
from hospintel_core.failpoints import reach
from hospintel_core.report import Report
from hospintel_core.training import EpochResult, evaluate_head, train_head
from hospintel_core.weights import Arrays

log = logging.getLogger(__name__)

KEPT_MODELS: Final = 3
WATCH_EVERY: Final = 5.0
_SEED_DOMAIN: Final = b"hospintel/train-seed/v1"


def training_seed(plan_seed: int, round_number: int, scans: bytes) -> int:
    """The seed of one agent's training in one round: 63 bits of SHA-256(domain, seed, round, scans).

    ``scans`` is ``Split.train_digest``. A restart, or the same scans under the same plan in another enrolment, trains
    exactly the same delta; two hospitals never shuffle alike.
    """
    text = b"\0".join((_SEED_DOMAIN, str(plan_seed).encode(), str(round_number).encode(), scans))
    return int.from_bytes(hashlib.sha256(text).digest()[:8], "big") >> 1


def fetch_head(agent: Agent, architecture: Architecture, digest: str) -> Arrays:
    """The model with this SHA-256 (hex), downloaded once and checked against it.

    Raises:
        HubUnreachableError, HubRefusedError, UntrustedError: as `Http.download`.
        WeightsError: the file is not a head of this architecture.
    """
    schema = architecture.head_schema
    path = agent.home.models / f"{digest}.safetensors"
    data = path.read_bytes() if path.exists() else b""
    if weights.digest(data) != digest:
        agent.hub.model(digest, path, schema.max_payload)
        _forget_old_models(path)
        data = path.read_bytes()
    head, _ = weights.loads(data, schema)
    return head


def train(agent: Agent, task: Task, row: Row) -> Row:
    """TASK -> TRAINED: delta and report on the received model lie in the home.

    EXPIRED if the round ended meanwhile, REFUSED if the training itself fails: it would fail again in the same way.

    Raises:
        DataError, DatasetError, BaseWeightsError: the scans or the base cannot be used.
        HubUnreachableError, HubRefusedError, UntrustedError: the model did not come.
        StorageError: the delta cannot be kept.
    """
    head = fetch_head(agent, task.architecture, task.manifest.model)
    reach("agent.head_kept")
    began = agent.clock.monotonic()
    split = agent.scans.split(task.architecture, mirror=task.manifest.plan.mirror)
    samples = len(split.train_labels)
    log.info("%s: training on %d scans, %d kept for validation", task.name, samples, len(split.validation_labels))
    try:
        report = evaluate_head(task.architecture, head, split.validation_features, split.validation_labels)
        trained, epochs = _train_head(agent, task, head, split)
    except TrainingError as error:
        if error.code == "training_stopped":
            return agent.journal.advance(row, State.EXPIRED, code="round_closed", detail="it ended during the training")
        return agent.journal.advance(row, State.REFUSED, code=error.code, detail=error.detail)
    train_ms = round((agent.clock.monotonic() - began) * 1000)
    last = epochs[-1]
    log.info("%s: trained in %.1f s, loss %.4f, accuracy %.4f", task.name, train_ms / 1000, last.loss, last.accuracy)
    delta = {name: trained[name] - head[name] for name in head}
    report = replace(report, train_ms=train_ms)
    _keep_delta(delta_path(agent, row), delta, report)
    reach("agent.delta_kept")
    return agent.journal.advance(
        row,
        State.TRAINED,
        samples=samples,
        train_ms=train_ms,
        report=report.to_json(),
        trained=json.dumps(np.bincount(split.train_labels, minlength=task.architecture.classes).tolist()),
        epochs=json.dumps([[round(epoch.loss, 6), round(epoch.accuracy, 6)] for epoch in epochs]),
    )


def _train_head(agent: Agent, task: Task, head: Arrays, split: Split) -> tuple[Arrays, list[EpochResult]]:
    """The trained head and how each epoch went."""
    plan = task.manifest.plan
    with agent.display.stage(f"{task.name}: training", "epochs") as show:
        show(0, plan.epochs)

        def on_epoch(result: EpochResult) -> None:
            log.debug("%s: epoch %d, loss %.4f, accuracy %.4f", task.name, result.epoch, result.loss, result.accuracy)
            show(result.epoch, plan.epochs)

        trained, results = train_head(
            task.architecture,
            head,
            split.train_features,
            split.train_labels,
            plan,
            mirrored=split.train_mirrored,
            seed=training_seed(plan.seed, task.manifest.round, split.train_digest),
            on_epoch=on_epoch,
            should_stop=_Watch(agent, task),
        )
    return trained, results


def evaluate(agent: Agent, task: Task, row: Row) -> Row:
    """Answer an `evaluate` task: TASK -> ACCEPTED when the hub has the signed report, or EXPIRED, or REFUSED."""
    began = agent.clock.monotonic()
    head = fetch_head(agent, task.architecture, task.manifest.model)
    split = agent.scans.split(task.architecture)
    report = evaluate_head(task.architecture, head, split.validation_features, split.validation_labels)
    fields = {
        "agent": str(agent.config.agent_id),
        "federation": str(task.manifest.federation_id),
        "issued_ms": agent.clock.now_ms(),
        "model": task.manifest.model,
        "report": json.loads(report.to_json()),
        "round": str(task.manifest.round_id),
    }
    body = json.dumps(fields, sort_keys=True, separators=(",", ":"))
    signature = signing.sign(signing.DOMAIN_REPORT, body.encode(), agent.key)
    spent = round((agent.clock.monotonic() - began) * 1000)
    facts: dict[str, str | int] = {"samples": report.n, "train_ms": spent, "report": report.to_json()}
    try:
        agent.hub.report(task.manifest.round_id, body, signature)
        reach("agent.report_sent")
    except HubRefusedError as error:
        if error.code in ENDED:
            return agent.journal.advance(row, State.EXPIRED, code=error.code, detail=error.detail)
        if error.code != "report_refused":
            raise
        return agent.journal.advance(row, State.REFUSED, code=error.code, detail=error.detail, **facts)
    log.info("%s: %s", task.name, _accuracy(report))
    return agent.journal.advance(row, State.ACCEPTED, **facts)


def measure_current(agent: Agent) -> tuple[Report, tuple[str, ...]]:
    """The report on the hub's current model over the local validation scans, and the class names; nothing is sent."""
    digest, name = agent.hub.current_model()
    architecture = architectures.get(name)
    head = fetch_head(agent, architecture, digest)
    split = agent.scans.split(architecture)
    found = evaluate_head(architecture, head, split.validation_features, split.validation_labels)
    return found, architecture.class_names


def delta_path(agent: Agent, row: Row) -> Path:
    """Where the delta of a round lies between training and the hub's word on it."""
    return agent.home.rounds / f"{row.round_id}.delta"


def load_delta(agent: Agent, task: Task, row: Row) -> tuple[Arrays, str] | None:
    """The kept delta and its report (JSON); None where the file is missing or damaged."""
    try:
        delta, metadata = weights.loads(delta_path(agent, row).read_bytes(), task.architecture.head_schema)
        return delta, metadata["report"]
    except (OSError, KeyError, WeightsError):
        return None


class _Watch:
    """Asks the hub now and then whether the round still wants the delta that is being trained."""

    def __init__(self, agent: Agent, task: Task) -> None:
        self._agent = agent
        self._round_id = task.manifest.round_id
        self._asked = agent.clock.monotonic()

    def __call__(self) -> bool:
        self._agent.stop.check()
        now = self._agent.clock.monotonic()
        if now - self._asked < WATCH_EVERY:
            return False
        self._asked = now
        try:
            return not self._agent.hub.update(self._round_id).collecting
        except AgentError:
            # Not the moment to find out what is wrong with the connection: the upload will.
            return False


def _accuracy(report: Report) -> str:
    return "no validation scans" if report.accuracy is None else f"accuracy {report.accuracy:.4f} on {report.n} scans"


def _keep_delta(path: Path, delta: Arrays, report: Report) -> None:
    with storing("the trained delta"):
        write_private(path, weights.dumps(delta, {"report": report.to_json()}))


def _forget_old_models(current: Path) -> None:
    models = sorted(current.parent.glob("*.safetensors"), key=lambda path: path.stat().st_mtime, reverse=True)
    for path in models[KEPT_MODELS:]:
        path.unlink(missing_ok=True)
    for part in current.parent.glob("*.part"):
        part.unlink(missing_ok=True)
