"""Forms of the accounts pages."""

from django.contrib.auth.forms import BaseUserCreationForm

from apps.accounts.models import User


class FirstAdminForm(BaseUserCreationForm):  # type: ignore[type-arg] # generic in the stubs only
    """A name and a password, twice; the rules are AUTH_PASSWORD_VALIDATORS."""

    class Meta:
        model = User
        fields = ["username"]
