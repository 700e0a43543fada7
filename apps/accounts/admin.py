"""Django admin for people and hospitals. What matters (roles, memberships) goes through the pipeline."""

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.auth.admin import UserAdmin
from django.contrib.auth.models import Group
from django.db.models import Model, QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html

from apps.accounts import pipeline
from apps.accounts.models import (
    ApiToken,
    FirstAdminLink,
    Hospital,
    LoginAttempts,
    Membership,
    PasswordLink,
    RecoveryCode,
    Role,
    SecondFactor,
    User,
)
from apps.audit.admin import AuditedModelAdmin, LookOnlyAdmin

# Memberships fill the groups; by hand they would say something else than the rows.
admin.site.unregister(Group)


class PersonChangeForm(forms.ModelForm):  # type: ignore[type-arg] # as above
    """What may be corrected in place. Django's own form would show parts of the password's hash."""

    class Meta:
        model = User
        fields = ["username", "first_name", "last_name", "email"]


@admin.register(User)
class PersonAdmin(AuditedModelAdmin, UserAdmin):  # type: ignore[type-arg] # as above
    """People. Nobody is deleted: the audit names them; they are deactivated."""

    list_display = ("username", "role", "is_active", "email", "last_login")
    list_filter = ("role", "is_active")
    fieldsets = (
        (None, {"fields": ("username", "sign_in", "role", "is_active")}),
        ("Contact", {"fields": ("first_name", "last_name", "email")}),
        ("Dates", {"fields": ("last_login", "date_joined")}),
    )
    form = PersonChangeForm
    readonly_fields = ("sign_in", "role", "is_active", "last_login", "date_joined")
    filter_horizontal = ()
    actions = ("make_admin", "make_doctor", "make_user", "activate", "deactivate")

    def get_urls(self) -> list[Any]:
        """Leave out Django's page that sets others' passwords: a link does that, and nobody knows the password."""
        return [url for url in super().get_urls() if url.name != "auth_user_password_change"]

    def has_add_permission(self, request: HttpRequest) -> bool:  # noqa: ARG002 - Django's signature
        """Refuse: the people's page adds them."""
        return False

    @admin.display(description="Password")
    def sign_in(self, person: User) -> str:
        """Say whether there is a password, and lead to the page that issues a link for another."""
        state = "set" if person.has_usable_password() else "not set"
        page = reverse("accounts:person", args=[person.pk])
        return format_html('{}; <a href="{}">issue a link that sets another</a>', state, page)

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: Any) -> None:  # noqa: ARG002 - Django's
        """Write the fields that were corrected and no others."""
        obj.save(update_fields=form.changed_data)

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:  # noqa: ARG002
        """Refuse."""
        return False

    @admin.action(description="Make administrator")
    def make_admin(self, request: HttpRequest, people: QuerySet[User]) -> None:
        """Give the role."""
        self._each(request, people, lambda user, actor: pipeline.change_role(user, Role.ADMIN, actor=actor))

    @admin.action(description="Make doctor")
    def make_doctor(self, request: HttpRequest, people: QuerySet[User]) -> None:
        """Give the role."""
        self._each(request, people, lambda user, actor: pipeline.change_role(user, Role.DOCTOR, actor=actor))

    @admin.action(description="Make plain user")
    def make_user(self, request: HttpRequest, people: QuerySet[User]) -> None:
        """Give the role."""
        self._each(request, people, lambda user, actor: pipeline.change_role(user, Role.USER, actor=actor))

    @admin.action(description="Activate")
    def activate(self, request: HttpRequest, people: QuerySet[User]) -> None:
        """Let them sign in."""
        self._each(request, people, lambda user, actor: pipeline.set_active(user, active=True, actor=actor))

    @admin.action(description="Deactivate: they are signed out and cannot sign in")
    def deactivate(self, request: HttpRequest, people: QuerySet[User]) -> None:
        """Keep them out."""
        self._each(request, people, lambda user, actor: pipeline.set_active(user, active=False, actor=actor))

    def _each(self, request: HttpRequest, people: QuerySet[User], act: Any) -> None:
        for user in people:
            try:
                act(user, f"user:{request.user.pk}")
            except pipeline.AccountError as error:
                self.message_user(request, f"{user}: {error.detail}", messages.ERROR)


class HospitalForm(forms.ModelForm):  # type: ignore[type-arg] # generic in the stubs only
    """A new hospital is a name."""

    class Meta:
        model = Hospital
        fields = ["name"]

    def clean_name(self) -> str:
        """Check what create_hospital will check, so that the page can say it."""
        try:
            return pipeline.checked_name(self.cleaned_data["name"])[0]
        except pipeline.AccountError as error:
            raise forms.ValidationError(error.detail, code=error.code) from error


@admin.register(Hospital)
class HospitalAdmin(AuditedModelAdmin):
    """Hospitals: added here, never renamed or deleted."""

    form = HospitalForm
    list_display = ("name", "slug", "created_at")
    readonly_fields = ("slug", "created_at")

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: Any) -> None:  # noqa: ARG002 - Django's
        """Create the hospital with its group."""
        made = pipeline.create_hospital(obj.name, actor=f"user:{request.user.pk}")
        obj.__dict__.update(made.__dict__)

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:  # noqa: ARG002
        """Refuse."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:  # noqa: ARG002
        """Refuse."""
        return False


@admin.register(Membership)
class MembershipAdmin(AuditedModelAdmin):
    """Who belongs where: added and ended, not changed."""

    list_display = ("user", "hospital", "created_at")
    list_filter = ("hospital",)
    list_select_related = ("user", "hospital")
    fields = ("user", "hospital")
    autocomplete_fields = ("user",)

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: Any) -> None:  # noqa: ARG002 - Django's
        """Make the person a member."""
        made = pipeline.add_member(obj.user, obj.hospital, actor=f"user:{request.user.pk}")
        obj.__dict__.update(made.__dict__)

    def delete_model(self, request: HttpRequest, obj: Any) -> None:
        """End the membership."""
        pipeline.remove_member(obj.user, obj.hospital, actor=f"user:{request.user.pk}")

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:  # noqa: ARG002
        """Refuse."""
        return False


@admin.register(FirstAdminLink)
class FirstAdminLinkAdmin(LookOnlyAdmin):
    """Links that make the first administrator, without the link."""

    list_display = ("id", "expires_at", "used_at")
    exclude = ("token_hash",)


@admin.register(LoginAttempts)
class LoginAttemptsAdmin(LookOnlyAdmin):
    """How many passwords were tried lately; whose they were is not kept."""

    list_display = ("key", "count", "until")


@admin.register(PasswordLink)
class PasswordLinkAdmin(LookOnlyAdmin):
    """Links that set a password, without the link."""

    list_display = ("user", "expires_at", "used_at")
    list_select_related = ("user",)
    exclude = ("token_hash",)


@admin.register(SecondFactor)
class SecondFactorAdmin(LookOnlyAdmin):
    """Who has a second factor, without its secret."""

    list_display = ("user", "created_at")
    list_select_related = ("user",)
    exclude = ("sealed_secret", "last_step")


@admin.register(RecoveryCode)
class RecoveryCodeAdmin(LookOnlyAdmin):
    """Whose recovery codes are left, without the codes."""

    list_display = ("id", "user")
    list_select_related = ("user",)
    exclude = ("code_hash",)


@admin.register(ApiToken)
class ApiTokenAdmin(LookOnlyAdmin):
    """Tokens of programs, without the token."""

    list_display = ("hint", "user", "created_at", "expires_at", "last_used_at")
    list_select_related = ("user",)
    exclude = ("token_hash",)
