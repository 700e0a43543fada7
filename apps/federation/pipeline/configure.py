"""Change the limits of a federation: what its rounds wait for, how its gate judges, how its agents train."""

from collections.abc import Mapping
from typing import Any

from apps.audit.api import record, transaction
from apps.federation.models import Federation, Round, Run
from apps.federation.pipeline.step import Next, Refusal
from apps.federation.states import RoundState, RunState, Selection
from hospintel_core.aggregate import RULES
from hospintel_core.errors import PlanError
from hospintel_core.plan import Plan

Scalar = int | float | str
MONTH = 30 * 24 * 3600
MANY = 1000

# Field of the federation -> least and most.
RANGES: Mapping[str, tuple[float, float]] = {
    "min_updates": (1, MANY),
    "grace": (0, MONTH),
    "deadline": (1, MONTH),
    "selection_fraction": (0.01, 1),
    "over_select": (0, 1),
    "absent_after": (0, MANY),
    "evaluate_quorum": (0, MANY),
    "evaluate_deadline": (1, MONTH),
    "gate_margin": (0, 1),
    "server_momentum": (0, 0.99),
}
FRACTIONS = frozenset({"selection_fraction", "over_select", "gate_margin", "server_momentum"})
# How updates become a version: what an open round was begun with holds for it.
COMBINING = frozenset({"rule", "server_momentum"})
# Before the name of a setting in the audit: its value until then.
WAS = "was_"
PLAN_FIELDS = ("epochs", "batch_size", "learning_rate", "mirror")


def settings_of(federation: Federation) -> dict[str, Scalar]:
    """Return what `configure` can change, as it is now."""
    plan = Plan.from_dict(federation.plan).to_dict()
    return {
        **{name: getattr(federation, name) for name in RANGES},
        "selection": federation.selection,
        "rule": federation.rule,
        **{name: plan[name] for name in PLAN_FIELDS},
    }


def configure(federation: Federation, changes: Mapping[str, Scalar], *, actor: str) -> list[Next]:
    """Change settings of a federation; those that are so already are left alone.

    Limits hold from now on, for an open round too; whom a round asks is decided when it opens; the plan holds for runs
    that start later.

    Args:
        federation: which; refreshed.
        changes: name in `settings_of` -> value.
        actor: who does it, for the audit.

    Returns:
        The steps that may have become due: a round opens or closes.

    Raises:
        Refusal: `setting_unknown`, `setting_range`, `rule_unknown`, `selection_unknown` or a `plan_*` code (400);
            `round_open` (409) for a new rule or server momentum while a round is open that was begun with the old
            one.
    """
    with transaction():
        federation.refresh_from_db()
        before = settings_of(federation)
        wanted = {name: value for name, value in changes.items() if before.get(name) != value}
        for name, value in wanted.items():
            check(name, value)
        if COMBINING & wanted.keys() and Round.objects.active().of(federation.pk).exists():
            raise Refusal("round_open", "A round is open by the old rule. Abort the run or wait for its end.", 409)
        fields: dict[str, object] = {name: value for name, value in wanted.items() if name not in PLAN_FIELDS}
        if len(fields) < len(wanted):
            fields["plan"] = _plan(federation, wanted)
        if fields:
            facts: dict[str, Any] = {**wanted, **{f"{WAS}{name}": before[name] for name in wanted}}
            Federation.objects.filter(pk=federation.pk).update(**fields)
            record("federation.configure", actor=actor, obj=f"federation:{federation.pk}", **facts)
    federation.refresh_from_db()
    return _due(federation) if wanted else []


def check(name: str, value: Scalar) -> None:
    """Refuse a value that a setting cannot have.

    Raises:
        Refusal: `setting_unknown`, `setting_range`, `rule_unknown`, `selection_unknown` or a `plan_*` code (400).
    """
    if name in RANGES:
        least, most = RANGES[name]
        kinds = {int, float} if name in FRACTIONS else {int}
        # Not a number fails both comparisons.
        if type(value) not in kinds or not least <= float(value) <= most:
            raise Refusal("setting_range", f"{name} is from {least} to {most}.", 400)
    elif name == "rule":
        if value not in RULES:
            raise Refusal("rule_unknown", f"The rules are: {', '.join(sorted(RULES))}.", 400)
    elif name == "selection":
        if value not in Selection.values:
            raise Refusal("selection_unknown", f"A round asks: {', '.join(Selection.values)}.", 400)
    elif name in PLAN_FIELDS:
        _planned({name: value})
    else:
        raise Refusal("setting_unknown", f"There is no setting {name}.", 400)


def _plan(federation: Federation, wanted: Mapping[str, Scalar]) -> dict[str, object]:
    return _planned({**federation.plan, **{name: value for name, value in wanted.items() if name in PLAN_FIELDS}})


def _planned(fields: Mapping[str, object]) -> dict[str, object]:
    try:
        return Plan.from_dict(fields).to_dict()
    except PlanError as error:
        raise Refusal(error.code, error.detail, 400) from error


def _due(federation: Federation) -> list[Next]:
    running = Run.objects.filter(federation=federation, state=RunState.RUNNING).values_list("pk", flat=True)
    collecting = Round.objects.of(federation.pk).filter(state=RoundState.COLLECTING).values_list("pk", flat=True)
    return [*(Next("open", pk) for pk in running), *(Next("close", pk) for pk in collecting)]
