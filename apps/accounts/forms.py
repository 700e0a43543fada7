"""Forms of the accounts pages."""

from typing import Any

from django import forms
from django.contrib.auth.forms import AuthenticationForm, BaseUserCreationForm, SetPasswordForm, UsernameField
from django.http import HttpRequest

from apps.accounts.models import Hospital, Role, User
from apps.accounts.pipeline import AccountError, CodeNeeded, Locked, authenticate
from hospintel_site.callers import client_address


def _prove(request: HttpRequest | None, username: str, password: str, **more: Any) -> User | None:
    """Ask the pipeline who this is; what a wrong code says is said beside its field."""
    try:
        address = client_address(request) if request else ""
        return authenticate(username, password, address=address, request=request, **more)
    except (Locked, CodeNeeded):
        raise
    except AccountError as error:
        raise forms.ValidationError(error.detail, code=error.code) from error


class SignInForm(AuthenticationForm):
    """A name and a password. Cleaning it raises Locked after too many wrong ones, CodeNeeded if they are not all."""

    def clean(self) -> dict[str, Any]:
        """Find the person."""
        username, password = self.cleaned_data.get("username"), self.cleaned_data.get("password")
        if username and password:
            self.user_cache = _prove(self.request, username, password)
            if self.user_cache is None:
                raise self.get_invalid_login_error()
        return self.cleaned_data


def code_field(*, autofocus: bool = False) -> forms.CharField:
    """Return the field of a code, with what lets a phone offer it."""
    attributes = {"autocomplete": "one-time-code", "autocapitalize": "none", "spellcheck": "false"}
    more = {"autofocus": True} if autofocus else {}
    return forms.CharField(label="Code", max_length=40, widget=forms.TextInput(attrs={**attributes, **more}))


class SignInCodeForm(forms.Form):
    """The second step: a code, of somebody whose password was right a moment ago. Cleaning it raises Locked."""

    otp = code_field(autofocus=True)

    def __init__(self, request: HttpRequest, *args: Any, known: User, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.request, self.known = request, known
        self.user: User | None = None

    def clean_otp(self) -> str:
        """Look at the code."""
        otp: str = self.cleaned_data["otp"]
        self.user = _prove(self.request, self.known.get_username(), "", otp=otp, known=self.known)
        return otp

    def get_user(self) -> User | None:
        """Return who has signed in."""
        return self.user


class CodeForm(forms.Form):
    """A code, by which the own app is set up."""

    code = code_field()


class ConfirmForm(forms.Form):
    """The password once more, or a code of the app."""

    # Among the fields of whatever form was sent: a name that none of them has.
    NAME = "confirm_password"
    confirm_password = forms.CharField(
        label="Password",
        strip=False,
        widget=forms.PasswordInput(attrs={"autocomplete": "current-password", "autofocus": True}),
    )


class LinkForm(forms.Form):
    """The code of a one-time link."""

    token = forms.CharField(label="Code", max_length=100, widget=forms.TextInput(attrs={"autocomplete": "off"}))


class FirstAdminForm(BaseUserCreationForm):  # type: ignore[type-arg] # generic in the stubs only
    """A name and a password, twice; the rules are AUTH_PASSWORD_VALIDATORS."""

    class Meta:
        model = User
        fields = ["username"]
        field_classes = {"username": UsernameField}


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


ROLES_HELP = (
    "Administrators see and do everything. Doctors see their hospitals and get the model. Users look at the dashboard."
)


class ChangePersonForm(forms.Form):
    """A person's role and hospitals."""

    role = forms.ChoiceField(choices=Role.choices, help_text=ROLES_HELP)
    hospitals = forms.ModelMultipleChoiceField(
        Hospital.objects.all(), required=False, widget=forms.CheckboxSelectMultiple
    )


class AddPersonForm(ChangePersonForm):
    """A new person; they choose their password themselves."""

    field_order = ["username", "role", "hospitals"]
    username = forms.CharField(
        max_length=150, validators=[User.username_validator], widget=forms.TextInput(attrs={"autocomplete": "off"})
    )
    role = forms.ChoiceField(choices=Role.choices, initial=Role.DOCTOR, help_text=ROLES_HELP)
