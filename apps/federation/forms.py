"""What the portal's forms of the federation hold."""

from django import forms


class RunForm(forms.Form):
    """A run to be started."""

    rounds = forms.IntegerField(min_value=1, max_value=1000)
    epochs = forms.IntegerField(min_value=1, max_value=100)


class ReasonForm(forms.Form):
    """Why a version is published, rejected or restored."""

    reason = forms.CharField(max_length=80, required=False)
