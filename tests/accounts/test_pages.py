"""Signing in and out, the first administrator's page, and Django admin behind the same door."""

import re
from typing import Any

import pytest
from django.contrib import admin
from django.test import Client
from django.urls import URLPattern, reverse
from django.utils import timezone

from apps.accounts import pipeline
from apps.accounts.models import Hospital, Membership, PasswordLink, Role, User
from apps.audit.api import events_after, flush_denials

pytestmark = pytest.mark.django_db
PASSWORD = "correct horse battery"
LOGIN = "/accounts/login/"


def last() -> dict[str, Any]:
    return events_after(0, 500)[-1]


def test_signing_in_and_out_is_recorded(cast: Any, client: Client):
    response = client.post(LOGIN, {"username": "north_doctor", "password": PASSWORD})
    assert response.status_code == 302
    assert (last()["action"], last()["actor"]) == ("login.ok", cast.north_doctor.actor)
    assert last()["facts"]["address"] == "127.0.0.1"
    assert client.get("/accounts/logout/").status_code == 405
    assert client.post("/accounts/logout/").status_code == 302
    assert last()["action"] == "login.end"


def test_a_refused_sign_in_is_counted_without_what_was_typed(cast: Any, client: Client):
    for name in ("north_doctor", "nobody", "my-secret-password"):
        response = client.post(LOGIN, {"username": name, "password": "wrong"})
        assert response.status_code == 200
        assert b"correct username and password" in response.content
    assert flush_denials() == 1
    assert (last()["action"], last()["outcome"]) == ("login.refused", "denied")
    assert last()["facts"]["calls"] == 3
    assert "secret" not in str(last())


@pytest.mark.parametrize(
    ("told", "kept"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8::7", "2001:db8::7"),
        ("fe80::7%" + "x" * 300, "fe80::7"),
        ("x" * 300, ""),
        ("<script>", ""),
    ],
)
def test_an_address_in_the_audit_is_an_address(client: Client, told: str, kept: str):
    client.post(LOGIN, {"username": "nobody", "password": "wrong"}, REMOTE_ADDR=told)
    flush_denials()
    assert last()["facts"]["address"] == kept


@pytest.mark.parametrize("following", [LOGIN, f"{LOGIN}?next={LOGIN}", "/%61ccounts/login/", "/elsewhere/"])
def test_who_is_signed_in_is_not_sent_from_the_login_page_to_itself(cast: Any, client: Client, following: str):
    client.force_login(cast.reader)
    answer = client.get(LOGIN, {"next": following})
    assert answer.status_code == 302
    assert answer.headers["Location"] == ("/" if following.startswith(LOGIN) else following)


def test_somebody_deactivated_is_out_on_the_next_request(cast: Any, client: Client):
    client.force_login(cast.admin)
    assert client.get("/admin/").status_code == 200
    pipeline.change_role(cast.reader, Role.ADMIN, actor="system:test")
    pipeline.set_active(cast.admin, active=False, actor="system:test")
    assert client.get("/admin/").status_code == 302
    assert client.post(LOGIN, {"username": "admin", "password": PASSWORD}).status_code == 200


def test_pages_send_a_strict_policy_and_no_inline_code(client: Client):
    response = client.get(LOGIN)
    policy = response.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    page = response.content.decode()
    for inline in ("style=", "onclick=", "<script>", "<style"):
        assert inline not in page
    assert response.headers["X-Frame-Options"] == "DENY"
    assert response.headers["Referrer-Policy"] == "same-origin"


def test_the_first_administrators_page_works_once(client: Client):
    token, page = pipeline.issue_first_admin_link(), "/first-admin/"
    assert b"behind the <code>#</code>" in client.get(page).content
    wanted = {"username": "chief", "password1": PASSWORD, "password2": PASSWORD}
    assert b"Start the hub again: it prints a new one." in client.post(page, wanted | {"token": "wrong"}).content
    assert b"Choose a name and a password" in client.post(page, {"token": f" {token} "}).content
    weak = client.post(page, {"token": token, "username": "chief", "password1": "short", "password2": "short"})
    assert b"too short" in weak.content
    assert not User.objects.exists()
    made = client.post(page, wanted | {"token": token})
    assert made.status_code == 302
    assert User.objects.get().role == Role.ADMIN
    assert client.get("/admin/").status_code == 200
    for answer in (client.get(page), client.post(page, wanted | {"token": token, "username": "x"})):
        assert answer.status_code == 410
        assert b"This hub has its first administrator" in answer.content
    client.logout()
    assert b'href="/accounts/login/">Sign in' in client.get(page).content
    assert User.objects.count() == 1


def test_a_link_that_opens_nothing_is_answered_in_the_same_words_whatever_the_reason(cast: Any, client: Client):
    used = pipeline.issue_password_link(cast.reader, actor="system:test")
    pipeline.use_password_link(used, "staple battery horse")
    replaced = pipeline.issue_password_link(cast.reader, actor="system:test")
    late = pipeline.issue_password_link(cast.reader, actor="system:test")
    PasswordLink.objects.filter(used_at=None).update(expires_at=timezone.now())
    said = set()
    for token in (used, replaced, late, "never issued"):
        answer = client.post("/password/", {"token": token})
        said.add(re.sub(r"(?s)<input.*?>", "", answer.content.decode()))
    assert len(said) == 1
    assert "This link is used, over, replaced by a newer one, or not copied to its end. Ask an" in said.pop()


def test_no_link_leads_to_a_code_that_a_log_would_keep(client: Client):
    for path in ("/first-admin/x", "/password/x", "/password/x/", "/first-admin/x/"):
        assert client.get(path).status_code == 404


def test_admin_uses_our_login_and_is_for_administrators(cast: Any, client: Client):
    response = client.get("/admin/accounts/user/")
    assert response.status_code == 302
    assert response.headers["Location"].startswith("/admin/login/")
    response = client.get(response.headers["Location"])
    assert response.headers["Location"] == f"{LOGIN}?next=/admin/accounts/user/"
    client.force_login(cast.north_doctor)
    for page in ("/admin/", "/admin/accounts/user/"):
        assert client.get(page, headers={"Accept": "text/html"}).status_code == 403


def test_every_page_of_admin_opens_for_an_administrator(cast: Any, client: Client):
    client.force_login(cast.admin)
    for name in ("accounts_user", "accounts_hospital", "accounts_membership", "audit_auditentry"):
        assert client.get(reverse(f"admin:{name}_changelist")).status_code == 200
    assert client.get(reverse("admin:accounts_user_change", args=[cast.reader.pk])).status_code == 200
    assert client.get(reverse("admin:audit_auditentry_change", args=[1])).status_code == 200


def test_admin_changes_roles_by_action_alone(cast: Any, client: Client):
    client.force_login(cast.admin)
    edited = {"username": "reader", "role": "admin", "is_staff": "on", "email": "r@example.org"}
    client.post(reverse("admin:accounts_user_change", args=[cast.reader.pk]), edited)
    cast.reader.refresh_from_db()
    assert (cast.reader.role, cast.reader.email) == (Role.USER, "r@example.org")
    assert (last()["action"], last()["facts"]) == ("admin.user.change", {"fields": "Email address"})
    chosen = {"action": "make_doctor", "_selected_action": [cast.reader.pk]}
    client.post(reverse("admin:accounts_user_changelist"), chosen)
    cast.reader.refresh_from_db()
    assert cast.reader.role == Role.DOCTOR
    assert (last()["action"], last()["actor"]) == ("person.role", cast.admin.actor)
    client.post(
        reverse("admin:accounts_user_changelist"), {"action": "deactivate", "_selected_action": [cast.admin.pk]}
    )
    cast.admin.refresh_from_db()
    assert cast.admin.is_active


def test_admin_adds_hospitals_and_members(cast: Any, client: Client):
    client.force_login(cast.admin)
    client.post(reverse("admin:accounts_hospital_add"), {"name": "East Clinic"})
    east = Hospital.objects.get(name="East Clinic")
    assert east.members_group is not None
    assert [event["action"] for event in events_after(0, 500)][-2:] == ["hospital.create", "admin.hospital.add"]
    again = client.post(reverse("admin:accounts_hospital_add"), {"name": "east clinic"})
    assert b"already is a hospital" in again.content
    client.post(reverse("admin:accounts_membership_add"), {"user": cast.outsider.pk, "hospital": east.pk})
    membership = Membership.objects.get(user=cast.outsider)
    assert User.objects.get(pk=cast.outsider.pk).has_perm("accounts.view_hospital", east)
    client.post(reverse("admin:accounts_membership_delete", args=[membership.pk]), {"post": "yes"})
    assert not User.objects.get(pk=cast.outsider.pk).has_perm("accounts.view_hospital", east)


# Pages of admin itself that only show something, or only lead elsewhere.
CHANGES_NOTHING = {
    "index",
    "login",
    "password_change",
    "password_change_done",
    "autocomplete",
    "jsi18n",
    "app_list",
    None,  # the page for what is not there
}


def test_every_page_of_admin_itself_that_changes_something_is_recorded(cast: Any, client: Client):
    own = {pattern.name for pattern in admin.site.get_urls() if isinstance(pattern, URLPattern)}
    assert own - CHANGES_NOTHING == {"logout"}
    client.force_login(cast.admin)
    assert client.get(reverse("admin:logout")).status_code == 405
    assert client.post(reverse("admin:logout")).status_code == 302
    assert (last()["action"], last()["actor"]) == ("login.end", cast.admin.actor)
    assert client.get("/admin/").status_code == 302


def test_admin_cannot_touch_audit_entries(cast: Any, client: Client):
    client.force_login(cast.admin)
    assert client.get(reverse("admin:audit_auditentry_add")).status_code == 403
    assert client.post(reverse("admin:audit_auditentry_delete", args=[1]), {"post": "yes"}).status_code == 403
    assert client.post(reverse("admin:audit_auditentry_change", args=[1]), {"actor": "x"}).status_code == 403
    assert client.post(reverse("admin:accounts_user_delete", args=[cast.reader.pk]), {"post": "yes"}).status_code == 403
