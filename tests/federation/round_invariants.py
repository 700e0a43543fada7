"""What holds of runs, rounds, updates and versions at any time."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Protocol
from uuid import UUID

import numpy as np
from django.conf import settings
from django.db.models import Model
from site_agent import SCHEMA, delta

from apps.audit.api import verify
from apps.audit.models import AuditEntry, AuditHead
from apps.federation.models import Federation, ModelVersion, Round, Run, Update
from apps.federation.pipeline import keys, storage
from apps.federation.states import ROUND_ACTIVE, RUN_ACTIVE, UPDATE_LIVE
from hospintel_core import weights

# What nobody moves any more; a HELD version still waits for a decision.
FINAL = {"PUBLISHED", "HELD", "FAILED", "CONSUMED", "REFUSED", "REJECTED", "DONE", "ABORTED"}
SUMMED = {"EVALUATING", "PUBLISHED", "HELD"}
# The columns that say what became of a row; a HELD version may yet be published.
OUTCOME = {
    Run: ("state",),
    Round: ("state", "reason", "attempt"),
    Update: ("state", "code"),
    ModelVersion: ("state", "number", "digest", "parent_id"),
}


class Known(Protocol):
    """What is known of an update that was sent: which delta, and how many samples it states."""

    @property
    def seed(self) -> int: ...

    @property
    def samples(self) -> int: ...


@dataclass
class History:
    """What was seen before: how far the audit went, which files lay there, what had ended."""

    seen: tuple[Any, ...] = ()
    verified: int = 0
    ended: dict[UUID, list[Any]] = field(default_factory=dict)
    consumed: Counter[str] = field(default_factory=Counter)
    computed: set[UUID] = field(default_factory=set)


@dataclass
class Rows:
    """All rows, read once."""

    runs: list[SimpleNamespace]
    rounds: list[SimpleNamespace]
    updates: list[SimpleNamespace]
    versions: list[SimpleNamespace]

    @classmethod
    def read(cls) -> "Rows":
        return cls(*(_rows(model) for model in (Run, Round, Update, ModelVersion)))


def _rows(model: type[Model]) -> list[SimpleNamespace]:
    names = [item.attname for item in model._meta.concrete_fields if "manifest" not in item.attname]
    return [SimpleNamespace(kind=model, **row) for row in model._default_manager.values(*names)]


def hold(sent: Mapping[str, Known], history: History) -> None:
    """See that all of it holds. Nothing is looked at where neither the audit nor a file is another than before."""
    head = AuditHead.objects.get()
    seen = (head.seq, *sorted(_files()))
    if seen == history.seen:
        return
    history.seen = seen
    rows = Rows.read()
    _one_of_each(rows)
    _versions_form_a_line(rows)
    _updates_count_once(rows, sent)
    _what_is_needed_is_here(rows, set(seen[1:]))
    _what_ended_stays(rows, history)
    _audit_goes_on(rows, history, head.seq)
    for version in rows.versions:
        if version.source == "ROUND" and version.id not in history.computed:
            assert version.digest == sum_of(ModelVersion.objects.get(pk=version.id), sent), version
            history.computed.add(version.id)


def _files() -> Iterable[str]:
    folders = (settings.UPLOAD_DIR / "sealed", settings.MODEL_DIR / "heads", settings.KEYS / "rounds")
    return (path.name for folder in folders for path in Path(folder).glob("*"))


def _at_most_one(found: Iterable[Any]) -> None:
    counted = Counter(found)
    assert max(counted.values(), default=0) <= 1, counted


def _one_of_each(rows: Rows) -> None:
    """One active run of a federation, one active round of a run, one live update of an agent and round."""
    _at_most_one(run.federation_id for run in rows.runs if run.state in RUN_ACTIVE)
    _at_most_one(round_.run_id for round_ in rows.rounds if round_.state in ROUND_ACTIVE)
    _at_most_one((update.round_id, update.agent_id) for update in rows.updates if update.state in UPDATE_LIVE)
    _at_most_one((update.agent_id, update.nonce) for update in rows.updates)
    _at_most_one(update.digest for update in rows.updates)
    _at_most_one(version.round_id for version in rows.versions if version.source == "ROUND")


def _versions_form_a_line(rows: Rows) -> None:
    """Numbers without a gap in the order of their publication, the newest of them current; runs have such rounds."""
    numbered = sorted((v for v in rows.versions if v.number is not None), key=lambda version: version.number)
    assert [version.number for version in numbered] == list(range(1, len(numbered) + 1))
    assert {v.id for v in numbered} == {v.id for v in rows.versions if v.state == "PUBLISHED"}
    assert Federation.objects.values_list("current", flat=True).get() == numbered[-1].id
    for run in rows.runs:
        done = sorted(r.number for r in rows.rounds if r.run_id == run.id and r.state == "PUBLISHED")
        assert done == list(range(1, len(done) + 1)), done
        assert len(done) <= run.rounds
        assert (run.state == "DONE") <= (len(done) == run.rounds)


def _updates_count_once(rows: Rows, sent: Mapping[str, Known]) -> None:
    """Only what an agent sent counts, and in the version of its round; of what was accepted nothing is lost."""
    rounds = {round_.id: round_.state for round_ in rows.rounds}
    summed = {version.round_id for version in rows.versions if version.source == "ROUND"}
    for update in rows.updates:
        if update.state in UPDATE_LIVE:
            assert update.num_samples == sent[update.digest].samples
        if update.state == "CONSUMED":
            assert update.round_id in summed, update
        # One that nobody could inspect does not hold its round up: `finish` refuses it.
        if update.state == "ACCEPTED":
            assert update.round_id not in summed, update
    assert {pk for pk, state in rounds.items() if state in SUMMED} <= summed


def sum_of(version: ModelVersion, sent: Mapping[str, Known]) -> str:
    """The digest of what comes of the consumed updates of a version's round, computed from what was sent."""
    round_ = version.round
    assert round_ is not None
    base = storage.read_head(round_.base.digest, SCHEMA)
    consumed = sorted(round_.updates.filter(state="CONSUMED"), key=lambda update: str(update.agent_id))
    known = [sent[update.digest] for update in consumed]
    assert len(known) >= round_.run.federation.min_updates
    total, made = sum(one.samples for one in known), {}
    for name, array in base.items():
        moved = sum((one.samples * delta(one.seed)[name].astype(np.float64) for one in known), np.zeros(array.shape))
        made[name] = (moved / total + array).astype(np.float32)
    before = round_.base.round
    if before is not None and before.run_id == round_.run_id and round_.base.source == "ROUND":
        earlier = storage.read_head(before.base.digest, SCHEMA)
        carried = round_.run.federation.server_momentum
        for name, array in base.items():
            made[name] = (made[name] + carried * (array.astype(np.float64) - earlier[name])).astype(np.float32)
    return weights.digest(weights.dumps(made))


def _what_is_needed_is_here(rows: Rows, files: Collection[str]) -> None:
    """Every head; and until a round is summed, its key and the ciphertext of what was taken."""
    assert {f"{version.digest}.safetensors" for version in rows.versions} <= set(files)
    unsummed = {round_.id for round_ in rows.rounds if round_.state in {"COLLECTING", "AGGREGATING"}}
    assert {f"{pk}.pem" for pk in unsummed} <= set(files)
    waiting = [u for u in rows.updates if u.state in {"RECEIVED", "ACCEPTED"} and u.round_id in unsummed]
    assert {f"{update.id}.hspu" for update in waiting} <= set(files)


def _what_ended_stays(rows: Rows, history: History) -> None:
    """Nothing that has ended is anything else later."""
    now = {
        row.id: [getattr(row, name) for name in OUTCOME[row.kind]]
        for row in [*rows.runs, *rows.rounds, *rows.updates, *rows.versions]
        if row.state in FINAL and (row.kind, row.state) != (ModelVersion, "HELD")
    }
    for pk, was in history.ended.items():
        assert now[pk] == was
    history.ended = now


def _audit_goes_on(rows: Rows, history: History, seq: int) -> None:
    """What is new in it holds; each update was consumed once by it."""
    found = verify(history.verified + 1, seq)
    assert found.ok, (found.bad_seq, found.reason)
    new = AuditEntry.objects.filter(seq__gt=history.verified, seq__lte=seq, action="update.consumed")
    history.consumed.update(new.values_list("object", flat=True))
    history.verified = seq
    assert history.consumed == Counter(f"update:{update.id}" for update in rows.updates if update.state == "CONSUMED")


def be_at_rest() -> None:
    """Nothing waits for anybody but agents and administrators."""
    assert not Update.objects.filter(state="RECEIVED").exists()
    assert not Round.objects.filter(state__in=["AGGREGATING", "EVALUATING"]).exists()
    assert not Round.objects.under_evaluation().exists()
    assert not ModelVersion.objects.filter(state="CANDIDATE").exists()
    found = verify()
    assert found.ok, (found.bad_seq, found.reason)


def leave_nothing(files: Iterable[str]) -> None:
    """Where no round is open, there is neither ciphertext nor a round's key.

    What got no row when its process died has a day: an upload, and a key with which nobody has sealed.
    """
    known = {f"sealed/{pk}.hspu" for pk in Update.objects.values_list("pk", flat=True)}
    assert [name for name in files if name in known or name.endswith(".part")] == []
    assert not Round.objects.filter(pk__in=keys.kept_round_keys()).exists()


def outcomes() -> Counter[str]:
    """How often what has come about here, to see that sequences get anywhere."""
    found = Counter(f"round {state} {reason}".strip() for state, reason in Round.objects.values_list("state", "reason"))
    found += Counter(f"update {state} {code}".strip() for state, code in Update.objects.values_list("state", "code"))
    found += Counter(f"version {s}" for s in ModelVersion.objects.values_list("source", flat=True))
    return found
