"""What the audit is searched by."""

from django import forms

from apps.audit.search import MAX_SEQ

OUTCOMES = ("ok", "refused", "denied", "held")


class SearchForm(forms.Form):
    """Which entries of the audit are looked for."""

    start = forms.DateTimeField(required=False)
    end = forms.DateTimeField(required=False)
    actor = forms.CharField(max_length=100, required=False)
    action = forms.CharField(max_length=60, required=False)
    object = forms.CharField(max_length=120, required=False)
    outcome = forms.ChoiceField(choices=[("", "any"), *((word, word) for word in OUTCOMES)], required=False)
    code = forms.CharField(max_length=60, required=False)
    before = forms.IntegerField(min_value=1, max_value=MAX_SEQ, required=False)
    after = forms.IntegerField(min_value=0, max_value=MAX_SEQ, required=False)
