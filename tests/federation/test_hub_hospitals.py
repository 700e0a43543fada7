"""The pages of hospitals: what they show to whom, one-time codes, the test of a connection, revocation."""

import html
import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone
from hub_client import HubClient

from apps.accounts.models import Hospital, User
from apps.accounts.pipeline import create_hospital
from apps.audit.api import events_after
from apps.federation.addresses import way_in
from apps.federation.models import Agent, EnrolmentCode, Participation
from apps.federation.pipeline import enrol
from apps.federation.pipeline.step import Refusal

BROWSER = {"Accept": "text/html"}


@pytest.fixture
def page(cast: Any) -> Any:
    """What somebody sees at an address, as text without marks; a form is sent where there are fields."""

    def look(person: User, address: str, fields: dict[str, Any] | None = None, status: int = 200) -> str:
        client = HubClient(headers=BROWSER)
        client.force_login(person)
        sent = client.get(address) if fields is None else client.post(address, fields, follow=True)
        assert sent.status_code == status, sent.content
        return html.unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", sent.content.decode())))

    return look


def agent_of(hospital: Hospital) -> Agent:
    return Agent.objects.get(hospital=hospital)


def seen(agent: Agent, ago: timedelta, version: str = "0.1.0") -> None:
    Agent.objects.filter(pk=agent.pk).update(last_seen=timezone.now() - ago, version=version)


def test_a_hub_without_hospitals_says_what_to_do_first(hub, cast, page):
    for model in (EnrolmentCode, Agent, Participation):
        model.objects.all().delete()
    User.objects.get(pk=cast.north_doctor.pk).memberships.all().delete()
    cast.south_doctor.memberships.all().delete()
    Hospital.objects.all().delete()
    assert "Add the first one above. Then open it, issue a one-time code" in page(cast.admin, "/hospitals/")
    assert "An administrator adds you to yours" in page(cast.north_doctor, "/hospitals/")


def test_an_admin_adds_a_hospital_which_takes_part_at_once(hub, cast, page):
    shown = page(cast.admin, "/hospitals/add", {"name": "West Clinic"})
    assert "West Clinic is added. Next: issue a code for its agent." in shown
    assert "West Clinic has no agent yet." in shown
    assert Participation.objects.filter(hospital__slug="west-clinic", federation=hub.federation).exists()
    assert "There already is a hospital called west clinic" in page(
        cast.admin, "/hospitals/add", {"name": "west clinic"}
    )
    assert "needs letters or digits" in page(cast.admin, "/hospitals/add", {"name": "---"})
    assert "needs a name" in page(cast.admin, "/hospitals/add", {"name": ""})


def test_a_code_is_shown_once_with_the_line_that_uses_it(hub, cast, page):
    create_hospital("West Clinic", actor="user:1")
    asked = {"minutes": 30, "max_samples": 500}
    shown = page(cast.admin, "/hospitals/west-clinic/code", asked)
    line = re.search(r"hospintel-agent enrol \\\s+--hub (\S+) \\\s+--hub-fingerprint \S+ \\\s+--code -", shown)
    assert line
    row = EnrolmentCode.objects.latest("created_at")
    code = next(word for word in shown.split() if enrol.secret_hash(word) == row.code_hash)
    assert (row.hospital.slug, row.max_samples) == ("west-clinic", 500)
    assert row.expires_at - timezone.now() < timedelta(minutes=30)
    again = page(cast.admin, "/hospitals/west-clinic/")
    assert code not in again
    assert "Withdraw" in again
    assert code not in str(events_after(0, 500))
    assert Participation.objects.filter(hospital=row.hospital).exists()


@pytest.mark.parametrize("fields", [{}, {"minutes": 1, "max_samples": 5}, {"minutes": 60, "max_samples": 0}])
def test_a_code_without_sense_is_not_issued(hub, cast, page, fields):
    before = EnrolmentCode.objects.count()
    assert "valid for 5 minutes to 7 days" in page(cast.admin, "/hospitals/north-clinic/code", fields)
    assert EnrolmentCode.objects.count() == before


def test_a_withdrawn_code_enrols_nobody(hub, cast, page):
    code, row = enrol.issue_code(cast.north, actor="user:1")
    assert "nobody can use it any more" in page(cast.admin, f"/codes/{row.pk}/withdraw", {})
    with pytest.raises(Refusal, match="expired"):
        enrol.enrol(code=code, public_key=bytes(32), proof=bytes(64), agent_version="")
    assert "used or has expired" in page(cast.admin, f"/codes/{row.pk}/withdraw", {})
    assert events_after(0, 500)[-1]["facts"]["withdrawn"] is True


def test_the_line_has_the_address_by_which_the_hub_was_reached_unless_only_this_machine_knows_it(rf, settings):
    settings.ALLOWED_HOSTS = ["localhost", "127.0.0.1", "[::1]", "hub.example", "10.0.0.7"]
    settings.TLS_CERT, settings.PORT = Path("cert.pem"), 8443
    for host in ("localhost:8443", "127.0.0.1:8443", "[::1]:8443"):
        assert way_in(rf.get("/", headers={"Host": host}, secure=True)).address == "https://hub.example:8443"
    assert way_in(rf.get("/", headers={"Host": "10.0.0.7:9000"}, secure=True)).address == "https://10.0.0.7:9000"


@pytest.mark.parametrize(
    ("ago", "state", "says"),
    [
        (timedelta(seconds=3), "Connected", "its line to the hub is open"),
        (timedelta(seconds=90), "Called lately", "Test again in a minute"),
        (timedelta(hours=3), "Offline", "hospintel-agent status says whether it runs"),
    ],
)
def test_the_test_of_a_connection_says_what_to_do_next(hub, cast, page, ago, state, says):
    agent = agent_of(cast.north)
    seen(agent, ago)
    shown = page(cast.north_doctor, f"/agents/{agent.pk}/check", {})
    assert f"Agent {str(agent.pk)[:8]}: " in shown
    assert "version 0.1.0" in shown
    assert says in shown
    assert f" {state} " in shown


def test_an_agent_that_never_called_and_one_that_calls(hub, cast, page, north):
    agent = agent_of(cast.north)
    Agent.objects.filter(pk=agent.pk).update(last_seen=None)
    assert "has never asked for work. Start hospintel-agent run" in page(cast.admin, f"/agents/{agent.pk}/check", {})
    north.poll()
    assert "its line to the hub is open" in page(cast.admin, f"/agents/{agent.pk}/check", {})


def test_a_revoked_agent_is_shown_as_such_and_revoked_once(hub, cast, page):
    agent = agent_of(cast.north)
    shown = page(cast.admin, f"/agents/{agent.pk}/revoke", {})
    assert "To take part again, the hospital enrols anew" in shown
    assert "The agent was revoked. Enrol it anew" in shown
    assert "revoked already" in page(cast.admin, f"/agents/{agent.pk}/revoke", {})
    last = [event for event in events_after(0, 500) if event["action"] == "agent.revoked"]
    assert [event["actor"] for event in last] == [cast.admin.actor]
    assert agent.fingerprint in page(cast.north_doctor, "/hospitals/north-clinic/")


def test_contributions_are_the_hospitals_own(hub, cast, page, north, south):
    hub.open_round(north, south)
    hub.finish_honestly(north, south)
    shown = page(cast.north_doctor, "/hospitals/north-clinic/")
    assert "Updates used 1 Refused 0" in shown
    assert "In the new version" in shown
    page(cast.north_doctor, "/hospitals/south-clinic/", status=404)
    agents = [agent_of(hospital) for hospital in (cast.north, cast.south)]
    assert str(agents[0].pk)[:8] in shown
    assert str(agents[1].pk)[:8] not in shown


def test_the_living_part_comes_alone_and_without_forms_that_are_not_the_readers(hub, cast):
    client = HubClient(headers=BROWSER | {"X-Fragment": "live"})
    for person, sees in ((cast.admin, True), (cast.north_doctor, False)):
        client.force_login(person)
        text = client.get("/hospitals/north-clinic/").content.decode()
        assert "<html" not in text
        assert ("Issue a code" in text) is sees
        assert (">Revoke<" in text) is sees
        assert "Test connection" in text
