"""The one table of who may do what."""

import re
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import AnonymousUser
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.test import RequestFactory

from apps.accounts.models import Role
from apps.accounts.roles import MAY, may, require
from apps.audit.api import events_after

pytestmark = pytest.mark.django_db


def test_the_table_read_aloud(cast: Any):
    person = {Role.ADMIN: cast.admin, Role.DOCTOR: cast.north_doctor, Role.USER: cast.reader}
    for what, roles in MAY.items():
        assert Role.ADMIN in roles
        for role in Role:
            assert may(person[role], what) == (role in roles)
        assert not may(AnonymousUser(), what)


def test_somebody_deactivated_may_nothing(cast: Any):
    cast.admin.is_active = False
    assert not any(may(cast.admin, what) for what in MAY)


def test_what_is_not_in_the_table_is_a_mistake_in_the_code(cast: Any):
    with pytest.raises(KeyError):
        may(cast.admin, "fly")
    with pytest.raises(KeyError):
        require("fly")


def test_every_line_of_the_table_is_asked_about_somewhere():
    root = Path(__file__).resolve().parents[2]
    sources = [path for folder in ("apps", "hospintel_site") for path in (root / folder).rglob("*.py")]
    asking = re.compile(r"(?:may\([\w.]+, |require\(|allowed\()\"(\w+)\"")
    asked = {what for path in sources for what in asking.findall(path.read_text())}
    assert asked == set(MAY)


def test_no_code_but_the_table_and_the_accounts_compares_roles():
    root = Path(__file__).resolve().parents[2]
    sources = [path for folder in ("apps", "hospintel_site") for path in (root / folder).rglob("*.py")]
    apart = root / "apps" / "accounts"
    assert [path for path in sources if apart not in path.parents and ".role ==" in path.read_text()] == []


def test_a_guarded_page_sends_strangers_to_the_login_and_refuses_the_others(cast: Any, rf: RequestFactory):
    @require("steer_runs")
    def page(request: HttpRequest) -> HttpResponse:
        return HttpResponse("in")

    request = rf.get("/page?x=1")
    request.user = AnonymousUser()
    answer = page(request)
    assert (answer.status_code, answer.headers["Location"]) == (302, "/accounts/login/?next=/page%3Fx%3D1")
    request.user = cast.north_doctor
    with pytest.raises(PermissionDenied):
        page(request)
    event = events_after(0, 500)[-1]
    assert (event["action"], event["actor"], event["outcome"]) == ("GET ?", cast.north_doctor.actor, "denied")
    assert (event["visibility"], event["facts"]["needs"]) == ("admin", "steer_runs")
    request.user = cast.admin
    assert page(request).content == b"in"
