"""What an operator types: issue_code, start_run, tick."""

import signal
from datetime import timedelta
from io import StringIO
from pathlib import Path

import pytest
import time_machine
from django.core.management import CommandError, call_command
from django.utils import timezone
from hub_client import HubClient

from apps.accounts.pipeline import create_hospital
from apps.federation.models import EnrolmentCode, Participation, Run
from apps.federation.pipeline import keys
from apps.federation.pipeline.enrol import secret_hash
from hospintel_core import signing


def typed(*words):
    """What a command writes to stdout and to stderr."""
    out, err = StringIO(), StringIO()
    call_command(*words, stdout=out, stderr=err)
    return out.getvalue(), err.getvalue()


def test_issue_code_prints_the_code_alone_and_lets_the_hospital_take_part(hub):
    hospital = create_hospital("West Clinic", actor="user:1")
    out, err = typed("issue_code", "West Clinic", "--minutes", "5", "--max-samples", "77")
    row = EnrolmentCode.objects.get(code_hash=secret_hash(out.strip()))
    assert (row.hospital, row.max_samples) == (hospital, 77)
    assert row.expires_at - timezone.now() < timedelta(minutes=5)
    assert out.strip() not in err
    assert Participation.objects.filter(hospital=hospital, federation=hub.federation).exists()
    typed("issue_code", "West Clinic")
    assert Participation.objects.filter(hospital=hospital).count() == 1


def test_issue_code_prints_the_line_that_the_hospital_types(hub, settings):
    settings.ALLOWED_HOSTS = ["localhost", ".example.org", "hub.example.org"]
    settings.TLS_CERT, settings.PORT = Path("cert.pem"), 8443
    _, err = typed("issue_code", "North Clinic")
    fingerprint = signing.fingerprint(keys.identity_public()).replace(" ", "")
    rest = f" --hub-fingerprint {fingerprint} --code -"
    assert f"  hospintel-agent enrol --hub https://hub.example.org:8443{rest}\n" in err
    settings.BEHIND_PROXY = True
    assert f" --hub https://hub.example.org{rest}\n" in typed("issue_code", "North Clinic")[1]
    err = typed("issue_code", "North Clinic", "--address", "https://other.example")[1]
    assert f" --hub https://other.example{rest}\n" in err


def test_issue_code_for_an_unknown_hospital_says_how_to_create_it(hub):
    with pytest.raises(CommandError, match="create_hospital"):
        typed("issue_code", "Nowhere")


def test_start_run_prints_the_runs_id_and_the_run_waits_for_its_agents(hub, north, south):
    out, _ = typed("start_run", "--rounds", "2", "--epochs", "3")
    run = Run.objects.get(pk=out.strip())
    assert (run.rounds, run.plan["epochs"], run.started_by) == (2, 3, "system:command")
    hub.work()
    for agent in (north, south):
        agent.poll()
    hub.work()
    hub.finish_honestly(north, south)


def test_start_run_names_what_is_wrong(hub):
    with pytest.raises(CommandError, match=r"\(rounds_range\)"):
        typed("start_run", "--rounds", "0")
    typed("start_run", "--rounds", "1")
    with pytest.raises(CommandError, match=r"\(run_active\)"):
        typed("start_run", "--rounds", "1")


@pytest.fixture
def signals():
    """The tick takes the process' signals; pytest wants them back."""
    kept = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in kept.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("signals")
def test_one_look_of_the_tick_closes_what_is_overdue_and_keeps_house(hub, cast, north, south, enrolled):
    third = enrolled(cast.south)
    round_ = hub.open_round(north, south, third)
    for agent in (north, south):
        agent.take_part()
    hub.work()
    HubClient().get("/api/v1/federations/brain-mri/task")
    out, _ = typed("issue_code", "North Clinic")
    with time_machine.travel(timezone.now() + timedelta(hours=2)):
        typed("tick", "--once")
        hub.work()
    round_.refresh_from_db()
    assert round_.state == "PUBLISHED"
    assert EnrolmentCode.objects.get(code_hash=secret_hash(out.strip())).state == "EXPIRED"
    assert hub.event(code="token_missing")["facts"]["calls"] == 1
