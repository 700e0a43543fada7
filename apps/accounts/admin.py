"""Django admin for people and hospitals. What matters (roles, memberships) goes through the pipeline."""

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.auth.admin import UserAdmin
from django.contrib.auth.forms import AdminPasswordChangeForm, BaseUserCreationForm
from django.contrib.auth.models import Group
from django.db.models import Model, QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html

from apps.accounts import pipeline
from apps.accounts.models import FirstAdminLink, Hospital, LoginAttempts, Membership, Role, User
from apps.audit.admin import AuditedModelAdmin, LookOnlyAdmin
from apps.audit.api import transaction

# Memberships fill the groups; by hand they would say something else than the rows.
admin.site.unregister(Group)


class PersonCreationForm(BaseUserCreationForm):  # type: ignore[type-arg] # generic in the stubs only
    """A new person: name, role and password."""

    class Meta:
        model = User
        fields = ["username", "role"]


class PersonChangeForm(forms.ModelForm):  # type: ignore[type-arg] # as above
    """What may be corrected in place. Django's own form would show parts of the password's hash."""

    class Meta:
        model = User
        fields = ["username", "first_name", "last_name", "email"]


class PasswordForm(AdminPasswordChangeForm):  # type: ignore[type-arg] # as above
    """A new password; nobody is left without one."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields.pop("usable_password", None)
        for name in ("password1", "password2"):
            self.fields[name].required = True


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
    add_fieldsets = ((None, {"fields": ("username", "role", "password1", "password2")}),)
    form = PersonChangeForm
    add_form = PersonCreationForm
    change_password_form = PasswordForm
    readonly_fields = ("sign_in", "is_active", "last_login", "date_joined")
    filter_horizontal = ()
    actions = ("make_admin", "make_doctor", "make_user", "activate", "deactivate")

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        """Leave the role to the actions once the person exists."""
        fields = super().get_readonly_fields(request, obj)
        return fields if obj is None else (*fields, "role")

    @admin.display(description="Password")
    def sign_in(self, person: User) -> str:
        """Say whether there is a password, and lead to the page that sets another."""
        state = "set" if person.has_usable_password() else "not set"
        page = reverse("admin:auth_user_password_change", args=[person.pk])
        return format_html('{}; <a href="{}">set another</a>', state, page)

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: Any) -> None:
        """Create the person, or write the fields that were corrected and no others."""
        if change:
            obj.save(update_fields=form.changed_data)
            return
        fields = form.cleaned_data
        made = pipeline.create_person(
            fields["username"], fields["password1"], role=Role(fields["role"]), actor=f"user:{request.user.pk}"
        )
        obj.__dict__.update(made.__dict__)

    def user_change_password(self, request: HttpRequest, id: str, form_url: str = "") -> Any:  # noqa: A002 - Django's name
        """Change a password and record it in one commit."""
        if request.method != "POST":
            return super().user_change_password(request, id, form_url)
        with transaction():
            return super().user_change_password(request, id, form_url)

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
