"""What can happen to people and hospitals. Pages, admin and commands call these; nothing else changes them."""

import hashlib
import secrets
from datetime import timedelta

from django.contrib.auth.hashers import make_password
from django.contrib.auth.models import Group
from django.db.models import Q
from django.utils import timezone
from django.utils.text import slugify
from guardian.shortcuts import assign_perm

from apps.accounts.models import ApiToken, FirstAdminLink, Hospital, Membership, Role, SessionEnd, User, ending, flags
from apps.accounts.pipeline.leaving import put_out
from apps.audit.api import record, transaction

FIRST_ADMIN_MINUTES = 30
MAX_NAME = 100


class AccountError(Exception):
    """A refusal with a stable `code` and a sentence for people."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail


def create_hospital(name: str, *, actor: str) -> Hospital:
    """Create a hospital and its group. Raises AccountError(name_invalid | name_taken)."""
    with transaction():
        name, slug = checked_name(name)
        hospital = Hospital(name=name, slug=slug)
        hospital.members_group = Group.objects.create(name=f"hospital:{hospital.pk}:members")
        hospital.save(force_insert=True)
        assign_permissions(hospital)
        record("hospital.create", actor=actor, obj=hospital, name=name)
    return hospital


def checked_name(name: str) -> tuple[str, str]:
    """Return a hospital's name and slug. Raises AccountError(name_invalid | name_taken)."""
    name = name.strip()
    slug = slugify(name)[:60]
    if not slug or len(name) > MAX_NAME:
        raise AccountError("name_invalid", "A hospital's name needs letters or digits, and at most 100 characters.")
    if Hospital.objects.filter(Q(name=name) | Q(slug=slug)).exists():
        raise AccountError("name_taken", f"There already is a hospital called {name}, or nearly so.")
    return name, slug


def assign_permissions(hospital: Hospital) -> None:
    """State who may see a hospital: its members. Safe to call again."""
    assign_perm("accounts.view_hospital", hospital.members_group, hospital)


def add_member(user: User, hospital: Hospital, *, actor: str) -> Membership:
    """Make a person a member; nothing happens if they are one. Administrators are not members: they see all of it."""
    with transaction():
        membership, created = Membership.objects.get_or_create(user=user, hospital=hospital)
        user.groups.add(hospital.members_group)
        if created:
            record("member.add", actor=actor, obj=user, objects=[hospital], visibility=hospital.visibility)
    return membership


def remove_member(user: User, hospital: Hospital, *, actor: str) -> None:
    """End a person's membership; nothing happens if there is none."""
    with transaction():
        removed, _ = Membership.objects.filter(user=user, hospital=hospital).delete()
        user.groups.remove(hospital.members_group)
        if removed:
            record("member.remove", actor=actor, obj=user, objects=[hospital], visibility=hospital.visibility)
            put_out.send(User, user=user, actor=actor, by="hospital")


def create_person(username: str, password: str, *, role: Role, actor: str) -> User:
    """Create a person with a role. Raises AccountError(username_taken)."""
    hashed = make_password(password)
    with transaction():
        if User.objects.filter(username=username).exists():
            raise AccountError("username_taken", f"There already is somebody called {username}.")
        user = _create(username, hashed, role)
        record("person.create", actor=actor, obj=user, visibility="admin", role=str(role))
    return user


def create_without_password(username: str, *, role: Role, actor: str) -> User:
    """Create a person who cannot sign in until a link sets their password. Raises AccountError(username_taken)."""
    with transaction():
        if User.objects.filter(username=User.normalize_username(username)).exists():
            raise AccountError("username_taken", f"There already is somebody called {username}.")
        # Of no password, nothing is hashed: this may stand inside the transaction.
        user = _create(username, make_password(None), role)
        record("person.create", actor=actor, obj=user, visibility="admin", role=str(role))
    return user


def change_person(user: User, *, role: Role, hospitals: list[Hospital], actor: str) -> None:
    """Give a person this role and exactly these hospitals. Raises AccountError as change_role does."""
    with transaction():
        change_role(user, role, actor=actor)
        for hospital in hospitals:
            add_member(user, hospital, actor=actor)
        for gone in Hospital.objects.filter(memberships__user=user).exclude(pk__in=[one.pk for one in hospitals]):
            remove_member(user, gone, actor=actor)


def change_role(user: User, role: Role, *, actor: str) -> None:
    """Give a person another role and sign them out. Raises AccountError(last_admin) for the only active one."""
    with transaction():
        before = user.role
        if before == role:
            return
        _keep_an_admin(user)
        changed = {"role": role, **flags(role), **ending(SessionEnd.ROLE)}
        if User.objects.filter(pk=user.pk, role=before).update(**changed) != 1:
            raise AccountError("role_changed", "Somebody else changed this person's role just now.")
        end_tokens(user)
        record("person.role", actor=actor, obj=user, visibility="admin", was=before, role=str(role))
        put_out.send(User, user=user, actor=actor, by="role")
    user.refresh_from_db(fields=["role", "is_staff", "is_superuser", "session_epoch"])


def set_active(user: User, *, active: bool, actor: str) -> None:
    """Let a person sign in, or keep them out from their next request on. Raises AccountError(last_admin)."""
    with transaction():
        if not active:
            _keep_an_admin(user)
        over = {} if active else ending(SessionEnd.DEACTIVATED)
        if User.objects.filter(pk=user.pk, is_active=not active).update(is_active=active, **over):
            end_tokens(user)
            record("person.activate" if active else "person.deactivate", actor=actor, obj=user, visibility="admin")
            if not active:
                put_out.send(User, user=user, actor=actor, by="deactivated")
    user.is_active = active


def _keep_an_admin(user: User) -> None:
    """Refuse to lose the last active administrator."""
    admins = User.objects.filter(role=Role.ADMIN, is_active=True)
    # Writing the rows as they are holds them until the commit: two might take each other's role.
    if admins.update(role=Role.ADMIN) == 1 and admins.filter(pk=user.pk).exists():
        raise AccountError("last_admin", "This is the only active administrator.")


def issue_first_admin_link() -> str | None:
    """Return a one-time token for making the first administrator, or None if somebody has an account.

    256 bits, valid for 30 minutes; only its SHA-256 is stored. Tokens issued before it stop working.
    """
    token = secrets.token_urlsafe(32)
    with transaction():
        if User.objects.exists():
            return None
        FirstAdminLink.objects.filter(used_at=None).delete()
        FirstAdminLink.objects.create(
            token_hash=secret_hash(token), expires_at=timezone.now() + timedelta(minutes=FIRST_ADMIN_MINUTES)
        )
        record("first_admin.link", actor="system:up", visibility="admin", minutes=FIRST_ADMIN_MINUTES)
    return token


def find_first_admin_link(token: str) -> FirstAdminLink | None:
    """Return the open link of this token; None if it is wrong, late or used, or if there is somebody already."""
    link = FirstAdminLink.objects.filter(token_hash=secret_hash(token)).first()
    return link if link is not None and link.is_open and not User.objects.exists() else None


def create_first_admin(token: str, *, username: str, password: str) -> User:
    """Use the link: create the first administrator. Raises AccountError(link_invalid)."""
    hashed = make_password(password)
    with transaction():
        used = FirstAdminLink.objects.filter(token_hash=secret_hash(token), used_at=None, expires_at__gt=timezone.now())
        if used.update(used_at=timezone.now()) != 1 or User.objects.exists():
            raise AccountError("link_invalid", "This link is no longer valid.")
        user = _create(username, hashed, Role.ADMIN)
        record("person.create", actor="system:first-admin", obj=user, visibility="admin", role=str(Role.ADMIN))
    return user


def _create(username: str, hashed: str, role: Role) -> User:
    """Insert a person; the password was hashed before the transaction, which hashing would hold up."""
    name = User.normalize_username(username)
    return User.objects.create(username=name, password=hashed, role=role, **flags(role))


def end_tokens(user: User) -> None:
    """End a person's tokens, in the transaction that has just written the person."""
    ApiToken.objects.filter(user=user).delete()


def secret_hash(token: str) -> str:
    """Return the SHA-256 under which a token of 256 random bits is stored."""
    return hashlib.sha256(token.encode(errors="replace")).hexdigest()
