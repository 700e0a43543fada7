"""The page of a federation's settings: who changes what, what it says of mistakes, and when a change acts."""

import re

import pytest
from looking import BROWSER, browser, see, text

from apps.federation.models import Run
from apps.federation.pipeline.configure import RANGES, configure, settings_of
from apps.federation.words import SETTINGS


def filled(person):
    """The form as a browser would send it back unchanged, with the hidden values that came with it."""
    page = browser(person).get("/settings/", headers=BROWSER).content.decode()
    form = page[page.index('action="/settings/change"') : page.index("</form>", page.index("/settings/change"))]
    sent = {}
    for tag in re.findall(r"<input [^>]*>", form):
        at = dict(re.findall(r'(\w+)="([^"]*)"', tag))
        sent[at["name"]] = at.get("value", "")
    for name, inside in re.findall(r'<select name="(\w+)"[^>]*>(.*?)</select>', form, re.DOTALL):
        sent[name] = re.search(r'value="(\w+)" selected', inside)[1]
    return sent


def send(person, **fields):
    sent = filled(person) | {name: str(value) for name, value in fields.items()}
    return browser(person).post("/settings/change", sent, headers=BROWSER)


def test_the_page_and_the_command_know_the_same_settings(hub, cast):
    assert set(SETTINGS) == set(settings_of(hub.federation))
    assert set(SETTINGS) <= set(filled(cast.admin))
    page = see(cast.admin, "/settings/")
    for when in ("From now on, for an open round too.", "Refused while a round is open.", "For runs that start later."):
        assert when in page


def test_what_was_changed_is_changed_and_the_audit_has_old_and_new(hub, cast):
    answer = send(cast.admin, min_updates=3, gate_margin=0.05, epochs=7, mirror="no")
    assert (answer.status_code, answer.headers["Location"]) == (302, "/settings/")
    hub.federation.refresh_from_db()
    found = settings_of(hub.federation)
    assert [found[name] for name in ("min_updates", "gate_margin", "epochs", "mirror")] == [3, 0.05, 7, False]
    entry = hub.event(action="federation.configure")
    new = {"min_updates": 3, "gate_margin": 0.05, "epochs": 7, "mirror": False}
    old = {"was_min_updates": 2, "was_gate_margin": 0.02, "was_epochs": 5, "was_mirror": True}
    assert (entry["actor"], entry["facts"]) == (cast.admin.actor, new | old)
    assert "min updates 3 (was 2)" in see(cast.admin, "/audit/")


def test_what_was_not_changed_is_left_as_somebody_else_made_it_meanwhile(hub, cast):
    sent = filled(cast.admin) | {"grace": "60"}
    configure(hub.federation, {"deadline": 900}, actor="user:2")
    assert browser(cast.admin).post("/settings/change", sent).status_code == 302
    hub.federation.refresh_from_db()
    assert (hub.federation.grace, hub.federation.deadline) == (60, 900)


def test_a_form_that_changes_nothing_is_no_event(hub, cast):
    assert send(cast.admin).status_code == 302
    assert hub.events(action="federation.configure") == []


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("min_updates", 0, "min_updates is from 1 to 1000."),
        ("min_updates", "many", "Enter a whole number."),
        ("min_updates", "", "This field is required."),
        ("grace", -1, f"grace is from 0 to {RANGES['grace'][1]}."),
        ("gate_margin", 1.5, "gate_margin is from 0 to 1."),
        ("gate_margin", "nan", "Enter a number."),
        ("server_momentum", 1, "server_momentum is from 0 to 0.99."),
        ("rule", "loudest", "Select a valid choice."),
        ("epochs", 0, "epochs"),
        ("epochs", 101, "epochs"),
        ("learning_rate", 0, "learning_rate must be above 0 and at most 1."),
        ("mirror", "perhaps", "Select a valid choice."),
    ],
)
def test_a_mistake_is_told_beside_its_field_and_nothing_is_changed(hub, cast, name, value, said):
    before = settings_of(hub.federation)
    answer = send(cast.admin, deadline=60, **{name: value})
    assert answer.status_code == 200
    page = answer.content.decode()
    error = page.partition(f'id="id_{name}_error">')[2].partition("</div>")[0]
    assert said in error
    assert page.count('class="errors"') == 1
    hub.federation.refresh_from_db()
    assert settings_of(hub.federation) == before
    assert hub.events(action="federation.configure") == []


def test_another_rule_is_refused_while_a_round_is_open(hub, cast, north, south):
    hub.open_round(north, south)
    answer = send(cast.admin, rule="mean", grace=60)
    assert "A round is open by the old rule." in text(answer)
    hub.federation.refresh_from_db()
    assert (hub.federation.rule, hub.federation.grace) == ("fedavg", 120)


def test_limits_act_on_the_open_round_and_the_plan_on_the_next_run(hub, cast, north, south):
    round_ = hub.open_round(north, south)
    north.take_part()
    hub.work()
    send(cast.admin, min_updates=1, grace=0, epochs=9)
    hub.work()
    round_.refresh_from_db()
    assert round_.state == "PUBLISHED"
    assert Run.objects.get().plan["epochs"] == 5
    hub.federation.refresh_from_db()
    assert hub.federation.plan["epochs"] == 9
