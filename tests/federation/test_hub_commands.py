"""What an operator types: issue_code, set_federation, start_run, tick."""

import signal
from datetime import timedelta
from pathlib import Path

import pytest
import time_machine
from django.core.management import CommandError, call_command
from django.db import connection
from django.utils import timezone
from hub_client import HubClient
from looking import see
from typing_in import typed
from world import database_file

from apps.accounts.pipeline import create_hospital
from apps.federation.models import EnrolmentCode, Federation, Participation, Run
from apps.federation.pipeline import keys
from apps.federation.pipeline.enrol import secret_hash
from hospintel_core import signing
from hospintel_site.management.operator import account


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


def test_a_hospital_is_known_by_its_slug_too(hub, cast):
    out, _ = typed("issue_code", "north-clinic")
    assert EnrolmentCode.objects.get(code_hash=secret_hash(out.strip())).hospital == cast.north
    with pytest.raises(CommandError, match="Known: island-clinic, north-clinic, south-clinic"):
        typed("issue_code", "North Clinik")


@pytest.mark.parametrize(
    "words",
    [("--minutes", "-5"), ("--minutes", "0"), ("--minutes", "10081"), ("--max-samples", "-1"), ("--max-samples", "x")],
)
def test_a_code_for_no_time_or_no_scans_is_not_issued(hub, words):
    with pytest.raises(CommandError, match="is not a whole number from 1 to"):
        typed("issue_code", "North Clinic", *words)
    assert not EnrolmentCode.objects.filter(state="ISSUED").exists()


@pytest.mark.parametrize("words", [("issue_code", "North Clinic"), ("start_run", "--rounds", "1"), ("set_federation",)])
def test_a_federation_of_a_wrong_name_is_not_made(hub, words):
    with pytest.raises(CommandError, match=r"no federation 'brain-mir'. Known: brain-mri\."):
        typed(*words, "--federation", "brain-mir")
    assert Federation.objects.count() == 1


COMMANDS = [
    ("create_hospital", "North Clinic"),
    ("issue_code", "North Clinic"),
    ("start_run", "--rounds", "1"),
    ("set_federation",),
    ("revoke_agent",),
    ("rotate_keys",),
]


@pytest.mark.skipif(connection.vendor != "sqlite", reason="an empty database is a new file")
@pytest.mark.parametrize("words", COMMANDS, ids=lambda words: words[0])
def test_a_command_before_the_first_start_says_what_to_do_first(hub, own_keys, tmp_path, words):
    with database_file(tmp_path / "empty.sqlite3"), pytest.raises(CommandError, match="Start it once with make run"):
        typed(*words)


@pytest.mark.skipif(connection.vendor != "sqlite", reason="an empty database is a new file")
def test_the_default_federation_of_a_migrated_database_is_made_by_the_first_command(hub, own_keys, tmp_path):
    with database_file(tmp_path / "new.sqlite3"):
        call_command("migrate", verbosity=0)
        typed("set_federation")
        assert Federation.objects.get().current.number == 1


def test_set_federation_shows_the_settings(hub):
    shown = dict(line.split() for line in typed("set_federation")[0].splitlines())
    assert (shown["min_updates"], shown["rule"], shown["learning_rate"]) == ("2", "fedavg", "0.0001")


def test_set_federation_changes_what_is_named_and_the_audit_says_it(hub):
    words = ["--min-updates", "1", "--gate-margin", "0.1", "--rule", "mean", "--epochs", "7", "--grace", "120"]
    shown = dict(line.split() for line in typed("set_federation", *words)[0].splitlines())
    changed = {"min_updates": 1, "gate_margin": 0.1, "rule": "mean", "epochs": 7}
    assert {name: shown[name] for name in changed} == {name: str(value) for name, value in changed.items()}
    hub.federation.refresh_from_db()
    assert (hub.federation.min_updates, hub.federation.plan["epochs"], hub.federation.deadline) == (1, 7, 1800)
    entry = hub.event(action="federation.configure")
    before = {"was_min_updates": 2, "was_gate_margin": 0.02, "was_rule": "fedavg", "was_epochs": 5}
    assert (entry["actor"], entry["facts"]) == ("command:set_federation", changed | before)
    typed("set_federation", *words)
    assert len(hub.events(action="federation.configure")) == 1
    run = Run.objects.get(pk=typed("start_run", "--rounds", "1")[0].strip())
    assert run.plan["epochs"] == 7


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("--min-updates", "0"), "setting_range"),
        (("--grace", "-1"), "setting_range"),
        (("--deadline", "0"), "setting_range"),
        (("--gate-margin", "nan"), "setting_range"),
        (("--epochs", "0"), "plan_range"),
        (("--learning-rate", "2"), "plan_range"),
    ],
)
def test_set_federation_refuses_what_makes_no_sense(hub, words, code):
    with pytest.raises(CommandError, match=rf"\({code}\)"):
        typed("set_federation", *words)
    assert hub.events(action="federation.configure") == []


def test_a_run_that_waits_for_a_second_hospital_goes_on_when_one_is_enough(hub, north):
    hub.start_run()
    north.poll()
    hub.work()
    typed("set_federation", "--min-updates", "1")
    hub.work()
    assert hub.finish_honestly(north).expected == [north.credentials.agent_id]


def test_the_rule_stays_while_a_round_is_open(hub, north, south):
    hub.open_round(north, south)
    with pytest.raises(CommandError, match=r"\(round_open\)"):
        typed("set_federation", "--rule", "mean")


def test_what_is_typed_is_told_as_the_command_lines_and_administrators_see_under_which_account(hub, cast):
    typed("start_run", "--rounds", "2")
    started = hub.event(action="run.start")
    typed_by = hub.event(action="command.run")
    assert (typed_by["actor"], typed_by["visibility"]) == ("command:start_run", "admin")
    assert typed_by["facts"] == {"command": "start_run", "account": account()}
    assert typed_by["seq"] == started["seq"] - 1
    for person in (cast.admin, cast.reader):
        assert "The command line started a run of 2 rounds" in see(person)
        assert "The command line" in see(person, "/rounds/")
        assert "started a run of 2 rounds" in see(person, "/audit/?actor=The+command+line")
    assert f"was used: start_run, by the account {account()}" in see(cast.admin, "/audit/")
    assert "was used" not in see(cast.reader, "/audit/")
    # What only shows is no act.
    typed("set_federation")
    typed("versions", "list")
    assert len(hub.events(action="command.run")) == 1


def test_who_calls_sudo_is_named(monkeypatch):
    monkeypatch.setattr("os.getuid", lambda: 0)
    monkeypatch.setenv("SUDO_USER", "lena")
    assert account() == "root (sudo by lena)"
    monkeypatch.setattr("os.getuid", lambda: 3_999_999_999)
    assert account() == "3999999999"


def test_start_run_prints_the_runs_id_and_the_run_waits_for_its_agents(hub, north, south):
    out, _ = typed("start_run", "--rounds", "2", "--epochs", "3")
    run = Run.objects.get(pk=out.strip())
    assert (run.rounds, run.plan["epochs"], run.started_by) == (2, 3, "command:start_run")
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
