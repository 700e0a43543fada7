"""Forms of the accounts pages."""

from typing import Any

from django.contrib.auth.forms import AuthenticationForm, BaseUserCreationForm

from apps.accounts.models import User
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
