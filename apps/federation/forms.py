"""What the portal's forms of the federation hold."""

from django import forms

from apps.federation.pipeline.enrol import MOST_MINUTES, MOST_SAMPLES
from apps.federation.pipeline.review import MOST_REASON


class RunForm(forms.Form):
    """A run to be started; `start_run` judges the numbers."""

    rounds = forms.IntegerField()
    epochs = forms.IntegerField()


class ReasonForm(forms.Form):
    """Why a version is published, rejected or restored."""

    reason = forms.CharField(max_length=MOST_REASON, required=False)


class HospitalForm(forms.Form):
    """A hospital to be added; `create_hospital` judges the name."""

    name = forms.CharField(max_length=100)


class CodeForm(forms.Form):
    """A one-time code: how long it may be used, and how many scans its agent may claim."""

    minutes = forms.IntegerField(min_value=5, max_value=MOST_MINUTES)
    max_samples = forms.IntegerField(min_value=1, max_value=MOST_SAMPLES)
