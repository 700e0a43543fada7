"""What the portal's forms of the federation hold."""

from collections.abc import Iterable, Mapping
from typing import Any

from django import forms

from apps.federation.models import Federation, ModelVersion
from apps.federation.pipeline.configure import FRACTIONS, PLAN_FIELDS, RANGES, Scalar, check, settings_of
from apps.federation.pipeline.enrol import MOST_MINUTES, MOST_SAMPLES
from apps.federation.pipeline.review import MOST_REASON
from apps.federation.pipeline.step import Refusal
from apps.federation.states import Selection
from apps.federation.versions import called, source_of
from apps.federation.words import SETTINGS
from hospintel_core.aggregate import RULES

NO_VERSION = "There is no such version."


class RunForm(forms.Form):
    """A run to be started; `start_run` judges the numbers."""

    rounds = forms.IntegerField()
    epochs = forms.IntegerField()


class ReasonForm(forms.Form):
    """Why a version is published, rejected or restored."""

    reason = forms.CharField(max_length=MOST_REASON, required=False)


class CompareForm(forms.Form):
    """Which two versions to compare, by their ids: `a` is the one before."""

    a = forms.ChoiceField(label="Version")
    b = forms.ChoiceField(label="compared with")

    def __init__(self, versions: Iterable[ModelVersion], data: Mapping[str, Any] | None = None, **initial: str) -> None:
        super().__init__(data, initial=initial)
        choices = [(str(one.pk), _choice(one)) for one in versions]
        for name in ("a", "b"):
            self.fields[name].choices = choices  # type: ignore[attr-defined]  # a ChoiceField
            self.fields[name].error_messages |= {"invalid_choice": NO_VERSION, "required": "Choose a version."}

    def clean(self) -> dict[str, Any]:
        """Refuse a version beside itself."""
        cleaned = super().clean() or {}
        if cleaned.get("a") and cleaned.get("a") == cleaned.get("b"):
            self.add_error("b", "Choose two different versions.")
        return cleaned


def _choice(version: ModelVersion) -> str:
    current = ", current" if version.federation.current_id == version.pk else ""
    return f"{called(version).capitalize()} ({source_of(version)}{current})"


class HospitalForm(forms.Form):
    """A hospital to be added; `create_hospital` judges the name."""

    name = forms.CharField(max_length=100)


class CodeForm(forms.Form):
    """A one-time code: how long it may be used, and how many scans its agent may claim."""

    minutes = forms.IntegerField(min_value=5, max_value=MOST_MINUTES)
    max_samples = forms.IntegerField(min_value=1, max_value=MOST_SAMPLES)


# Settings by when a change acts, in the page's order.
NEXT_ROUND = ("selection", "selection_fraction", "over_select", "absent_after")
OPEN_ROUND = tuple(RANGES.keys() - {"server_momentum", *NEXT_ROUND})
BETWEEN_ROUNDS = ("rule", "server_momentum")


class SettingsForm(forms.Form):
    """A federation's settings; the pipeline's `check` judges each of them.

    What the page showed comes back with it, so that only what the reader changed is changed: somebody else may have
    changed another setting in the meantime.
    """

    def __init__(self, federation: Federation, data: Mapping[str, Any] | None = None) -> None:
        shown = settings_of(federation)
        super().__init__(data, initial={**shown, "mirror": "yes" if shown["mirror"] else "no"})
        for name, text in SETTINGS.items():
            self.fields[name] = _field(name)
            self.fields[name].label = name.replace("_", " ").capitalize()
            self.fields[name].help_text = f"{text[0].upper()}{text[1:]}."
            self.fields[name].show_hidden_initial = True

    def group(self, names: tuple[str, ...]) -> list[forms.BoundField]:
        """Return these fields, in the table's order."""
        return [self[name] for name in SETTINGS if name in names]

    def groups(self) -> list[tuple[str, str, list[forms.BoundField]]]:
        """Return a heading, when a change of it acts, and the fields of each part of the page."""
        return [
            ("Rounds and gate", "From now on, for an open round too.", self.group(OPEN_ROUND)),
            ("Who is asked", "From the next round on.", self.group(NEXT_ROUND)),
            ("Averaging", "From the next round on. Refused while a round is open.", self.group(BETWEEN_ROUNDS)),
            ("Plan", "For runs that start later. A run keeps the plan it began with.", self.group(PLAN_FIELDS)),
        ]

    def clean(self) -> dict[str, Any]:
        """Judge each value by itself, so that each error stands beside its field."""
        for name in list(self.cleaned_data):
            try:
                check(name, self.cleaned_data[name])
            except Refusal as refusal:
                self.add_error(name, refusal.detail)
        return self.cleaned_data

    def changes(self) -> dict[str, Scalar]:
        """Return what the reader changed."""
        return {name: self.cleaned_data[name] for name in self.changed_data}


def _field(name: str) -> forms.Field:
    if name == "rule":
        return forms.ChoiceField(choices=[(rule, rule) for rule in sorted(RULES)])
    if name == "selection":
        return forms.ChoiceField(choices=Selection.choices)
    if name == "mirror":
        return forms.TypedChoiceField(choices=[("yes", "yes"), ("no", "no")], coerce=lambda text: text == "yes")
    if name in FRACTIONS or name == "learning_rate":
        return forms.FloatField(widget=forms.NumberInput(attrs={"step": "any"}))
    return forms.IntegerField()
