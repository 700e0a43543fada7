"""Forms of the accounts pages."""

from typing import Any

from django import forms
from django.contrib.auth.forms import AuthenticationForm, BaseUserCreationForm, SetPasswordForm

from apps.accounts.models import Hospital, Role, User
from apps.accounts.pipeline import authenticate
from hospintel_site.callers import client_address


class SignInForm(AuthenticationForm):
    """A name and a password, looked at by the pipeline. Cleaning it raises Locked after too many wrong ones."""

    def clean(self) -> dict[str, Any]:
        """Find the person."""
        username, password = self.cleaned_data.get("username"), self.cleaned_data.get("password")
        if username and password:
            address = client_address(self.request) if self.request else ""
            self.user_cache = authenticate(username, password, address=address, request=self.request)
            if self.user_cache is None:
                raise self.get_invalid_login_error()
        return self.cleaned_data


class FirstAdminForm(BaseUserCreationForm):  # type: ignore[type-arg] # generic in the stubs only
    """A name and a password, twice; the rules are AUTH_PASSWORD_VALIDATORS."""

    class Meta:
        model = User
        fields = ["username"]


class NewPasswordForm(SetPasswordForm):  # type: ignore[type-arg] # generic in the stubs only
    """A password, twice; the rules are AUTH_PASSWORD_VALIDATORS. The pipeline sets it."""


class OwnPasswordForm(NewPasswordForm):
    """The present password, which the pipeline looks at, and the next one."""

    field_order = ["old_password", "new_password1", "new_password2"]
    old_password = forms.CharField(
        label="Present password",
        strip=False,
        widget=forms.PasswordInput(attrs={"autocomplete": "current-password"}),
    )


class ChangePersonForm(forms.Form):
    """A person's role and hospitals."""

    role = forms.ChoiceField(choices=Role.choices)
    hospitals = forms.ModelMultipleChoiceField(
        Hospital.objects.all(), required=False, widget=forms.CheckboxSelectMultiple
    )


class AddPersonForm(ChangePersonForm):
    """A new person; they choose their password themselves."""

    field_order = ["username", "role", "hospitals"]
    username = forms.CharField(
        max_length=150, validators=[User.username_validator], widget=forms.TextInput(attrs={"autocomplete": "off"})
    )
    role = forms.ChoiceField(choices=Role.choices, initial=Role.DOCTOR)
