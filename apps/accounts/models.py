"""People, hospitals, memberships, and the one-time link that makes the first administrator."""

import secrets
import uuid
from typing import Any

from django.conf import settings
from django.contrib.auth.models import AbstractUser, Group, UserManager
from django.db import models
from django.db.models.functions import Now
from django.utils import timezone
from django.utils.crypto import salted_hmac


class Role(models.TextChoices):
    """What a person may do; `roles.py` has the table."""

    ADMIN = "admin", "Administrator"
    DOCTOR = "doctor", "Doctor"
    USER = "user", "User"


def flags(role: str) -> dict[str, bool]:
    """Return Django's own two flags as they follow from the role."""
    return {"is_staff": role == Role.ADMIN, "is_superuser": role == Role.ADMIN}


class SessionEnd(models.TextChoices):
    """Why a browser session is over, as the sign-in page says it."""

    ELSEWHERE = "elsewhere", "You signed in elsewhere. An account is open in one browser at a time."
    IDLE = "idle", "You were signed out because nothing was done for a while."
    LIMIT = "limit", "You were signed out because the session had reached its longest time."
    PASSWORD = "password", "Your password was changed. Sign in with the new one."
    ROLE = "role", "Your role was changed. Sign in anew."
    ADMIN = "admin", "An administrator signed you out."
    SECOND_FACTOR = "second_factor", "Your second factor was reset. Sign in anew."
    DEACTIVATED = "deactivated", "Your account is deactivated."
    UNKNOWN = "unknown", "Your session is over."


def ending(why: SessionEnd) -> dict[str, str]:
    """Return the columns of a person that end every session they have: another epoch, and why."""
    return {"session_epoch": secrets.token_hex(16), "session_end": why}


class PersonManager(UserManager["User"]):
    """Makes people whose flags agree with their role."""

    use_in_migrations = False

    def create_user(
        self, username: str, email: str | None = None, password: str | None = None, **fields: Any
    ) -> "User":
        """Create a person; `role` defaults to the plain user."""
        return super().create_user(username, email, password, **{**fields, **flags(fields.get("role", Role.USER))})

    def create_superuser(
        self, username: str, email: str | None = None, password: str | None = None, **fields: Any
    ) -> "User":
        """Create an administrator (`manage.py createsuperuser` calls this)."""
        return super().create_superuser(username, email, password, **{**fields, "role": Role.ADMIN})


class User(AbstractUser):
    """A person who signs in. The role decides; Django's flags only mirror it, and the database holds them to it."""

    role = models.CharField(max_length=10, choices=Role.choices, default=Role.USER)
    # What the person's one browser session is proven by, beside the password; another value ends it (`ending`).
    session_epoch = models.CharField(max_length=32, default="", editable=False)
    session_end = models.CharField(max_length=20, default="", editable=False)
    # Whether there is a SecondFactor: asked about at every step.
    has_second_factor = models.BooleanField(default=False, editable=False)

    objects = PersonManager()  # type: ignore[misc] # django-stubs types the base class' manager more narrowly

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=models.Q(role=Role.ADMIN, is_staff=True, is_superuser=True)
                | (~models.Q(role=Role.ADMIN) & models.Q(is_staff=False, is_superuser=False)),
                name="user_flags_follow_role",
            ),
            models.CheckConstraint(condition=models.Q(role__in=Role.values), name="user_role_known"),
        ]

    @property
    def actor(self) -> str:
        """Return the name under which the audit knows this person."""
        return f"user:{self.pk}"

    @property
    def must_enrol(self) -> bool:
        """Return whether the person gets no further than the page that sets up a second factor."""
        return settings.REQUIRE_ADMIN_OTP and self.role == Role.ADMIN and not self.has_second_factor

    def _get_session_auth_hash(self, secret: str | None = None) -> str:
        """Return what Django and channels compare a session with, at each request and each event."""
        proof = f"{self.password}\0{self.session_epoch}"
        return salted_hmac("hospintel.session", proof, secret=secret, algorithm="sha256").hexdigest()


class Hospital(models.Model):
    """A hospital. Its people are in the group `members_group`; permissions on its objects are given to that group."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    name = models.CharField(max_length=100, unique=True)
    slug = models.SlugField(max_length=60, unique=True)
    members_group = models.OneToOneField(Group, on_delete=models.PROTECT, related_name="hospital", editable=False)
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name

    @property
    def visibility(self) -> str:
        """Return the audit's word for "this hospital and administrators"."""
        return f"hospital:{self.pk}"


class Membership(models.Model):
    """A person belongs to a hospital. The row only explains the group; the group carries the permissions."""

    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="memberships")
    hospital = models.ForeignKey(Hospital, on_delete=models.PROTECT, related_name="memberships")
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints = [models.UniqueConstraint(fields=["user", "hospital"], name="membership_once")]

    def __str__(self) -> str:
        return f"{self.user} at {self.hospital}"


class FirstAdminLink(models.Model):
    """A link that lets whoever holds it make the first administrator, once. Only the token's hash is kept."""

    token_hash = models.CharField(max_length=64, unique=True)
    expires_at = models.DateTimeField()
    used_at = models.DateTimeField(null=True)

    def __str__(self) -> str:
        return f"first-administrator link, {'used' if self.used_at else 'unused'}"

    @property
    def is_open(self) -> bool:
        """Return whether the link can still be used."""
        return self.used_at is None and self.expires_at > timezone.now()


class PasswordLink(models.Model):
    """A link with which a person sets their password, once. Only the token's hash is kept."""

    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="password_links")
    token_hash = models.CharField(max_length=64, unique=True)
    expires_at = models.DateTimeField()
    used_at = models.DateTimeField(null=True)

    def __str__(self) -> str:
        return f"password link of {self.user}, {'used' if self.used_at else 'unused'}"

    @property
    def is_open(self) -> bool:
        """Return whether the link can still be used."""
        return self.used_at is None and self.expires_at > timezone.now()


class SecondFactor(models.Model):
    """What a person's app makes codes from. The secret is encrypted under a key that is not in the database."""

    user = models.OneToOneField(User, on_delete=models.CASCADE, primary_key=True, related_name="second_factor")
    sealed_secret = models.CharField(max_length=120)
    # The time step of the newest code that was used: a code is used once.
    last_step = models.BigIntegerField()
    created_at = models.DateTimeField(db_default=Now())

    def __str__(self) -> str:
        return f"second factor of {self.user}"


class RecoveryCode(models.Model):
    """A code that stands in for the app, once. Only a keyed hash is kept; a used one is deleted."""

    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="recovery_codes")
    code_hash = models.CharField(max_length=64, unique=True)

    def __str__(self) -> str:
        return f"recovery code of {self.user}"


class ApiToken(models.Model):
    """What a person's program calls with. Only the token's hash is kept, and its first letters to know it by."""

    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="api_tokens")
    token_hash = models.CharField(max_length=64, unique=True)
    hint = models.CharField(max_length=8)
    created_at = models.DateTimeField(db_default=Now())
    expires_at = models.DateTimeField(db_index=True)
    last_used_at = models.DateTimeField(null=True)

    def __str__(self) -> str:
        return f"token {self.hint} of {self.user}"


class LoginAttempts(models.Model):
    """How many passwords were tried in a window, by a key that does not tell whose (`pipeline/lockout.py`)."""

    key = models.CharField(max_length=64, primary_key=True)
    count = models.PositiveIntegerField()
    until = models.DateTimeField(db_index=True)

    class Meta:
        verbose_name_plural = "login attempts"

    def __str__(self) -> str:
        return f"{self.count} until {self.until:%Y-%m-%d %H:%M}"
