"""Django admin's side doors: what could be read or written there past the pipeline and the audit."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from django.apps import apps
from django.contrib import admin
from django.db.models import Model
from django.urls import reverse
from hub_client import HubClient
from scene import Scene, first_row

from apps.accounts.models import Hospital, Membership, User
from apps.audit.api import events_after
from apps.federation.models import Agent, Update

MODELS = sorted(admin.site._registry, key=lambda model: model._meta.label_lower)
SECRET = re.compile(r"hash|token|secret|password|private")
# What the chain is made of is for everybody to compare; a lease's token is a number that grows.
NO_SECRETS = {"prev_hash", "entry_hash", "token"}
# Every action there is; each calls the pipeline.
ACTIONS = {
    "accounts.user": {"make_admin", "make_doctor", "make_user", "activate", "deactivate"},
    "federation.agent": {"revoke"},
}
# Kept by the framework, and nobody's to look at or to change by hand.
NOT_HERE = {"auth", "guardian", "sessions", "contenttypes", "admin"}


def secrets_of(model: type[Model]) -> list[str]:
    names = [field.name for field in model._meta.concrete_fields]
    return [name for name in names if SECRET.search(name) and name not in NO_SECRETS]


def label_of(model: type[Model]) -> str:
    return str(model._meta.label_lower)


def page(model: type[Model], kind: str, *arguments: Any) -> str:
    return reverse(f"admin:{label_of(model).replace('.', '_')}_{kind}", args=arguments)


@pytest.fixture
def client(scene: Scene) -> HubClient:
    return scene.client("admin")


def entries() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    while more := events_after(found[-1]["seq"] if found else 0, 500):
        found += more
    return found


def test_every_model_of_ours_is_there_and_none_of_the_frameworks():
    ours = {model for model in apps.get_models() if model.__module__.startswith(("apps.", "hospintel_site."))}
    assert ours == set(admin.site._registry)
    assert NOT_HERE & {model._meta.app_label for model in admin.site._registry} == set()


@pytest.mark.parametrize("model", MODELS, ids=label_of)
def test_a_list_offers_only_the_actions_of_the_pipeline(scene: Scene, client: HubClient, model: type[Model]):
    offered = set(re.findall(r'<option value="(\w+)"', client.get(page(model, "changelist")).content.decode()))
    assert offered == ACTIONS.get(label_of(model), set())


@pytest.mark.parametrize("model", MODELS, ids=label_of)
def test_ticking_everything_and_asking_for_deletion_deletes_nothing(
    scene: Scene, client: HubClient, model: type[Model]
):
    before = model._default_manager.count()
    everything = [str(pk) for pk in model._default_manager.values_list("pk", flat=True)]
    form = {"action": "delete_selected", "_selected_action": everything, "select_across": "1", "post": "yes"}
    client.post(page(model, "changelist"), form)
    assert model._default_manager.count() == before


def pages_with_content(client: HubClient, scene: Scene, model: type[Model]) -> Iterator[str]:
    pk = str(first_row(scene, label_of(model)))
    for address in (page(model, "changelist"), page(model, "change", pk), page(model, "history", pk)):
        answer = client.get(address)
        assert answer.status_code == 200
        yield answer.content.decode()


@pytest.mark.parametrize("model", [model for model in MODELS if secrets_of(model)], ids=label_of)
def test_no_page_shows_a_secret_or_part_of_one(scene: Scene, client: HubClient, model: type[Model]):
    row = model._default_manager.get(pk=first_row(scene, label_of(model)))
    hidden = [str(getattr(row, name)) for name in secrets_of(model)]
    assert all(len(text) > 16 for text in hidden)
    for content in pages_with_content(client, scene, model):
        for text in hidden:
            # A password's hash begins with what everybody knows: algorithm, rounds.
            parts = [part for part in re.split(r"\W", text) if len(part) > 16]
            assert not any(part[:6] in content for part in parts)


@pytest.mark.parametrize("model", MODELS, ids=label_of)
def test_a_list_cannot_be_filtered_by_what_it_does_not_offer(scene: Scene, client: HubClient, model: type[Model]):
    """Otherwise a hidden value could be found out letter by letter."""
    offered = set(admin.site._registry[model].list_filter)
    for field in model._meta.concrete_fields:
        if field.name not in offered:
            for lookup in (f"{field.name}__startswith", field.name, f"{field.name}__isnull"):
                answer = client.get(page(model, "changelist"), {lookup: "1"})
                assert answer.status_code == 400, lookup
    for lookup in ("user__password__startswith", "agent__token_hash__startswith", "hospital__agents__token_hash"):
        answer = client.get(page(model, "changelist"), {lookup: "x"})
        assert answer.status_code == 400, lookup


@pytest.mark.parametrize("model", [model for model in MODELS if secrets_of(model)], ids=label_of)
def test_a_row_is_not_found_by_its_secret(scene: Scene, client: HubClient, model: type[Model]):
    row = model._default_manager.get(pk=first_row(scene, label_of(model)))
    for name in secrets_of(model):
        secret = str(getattr(row, name))
        for address in (page(model, "changelist"), page(model, "change", secret), page(model, "delete", secret)):
            assert client.get(address, {"_to_field": name}).status_code in {400, 403}
        if admin.site._registry[model].get_search_fields(None):
            found = client.get(page(model, "changelist"), {"q": secret}).content.decode()
            assert str(row) not in found.partition('id="result_list"')[2]


def test_a_person_cannot_be_given_anything_by_a_form_but_a_name(scene: Scene, client: HubClient):
    person = scene.people["north_user"]
    wanted = {
        "username": "renamed",
        "email": "n@example.org",
        "password": "!",
        "role": "admin",
        "is_active": "",
        "is_staff": "on",
        "is_superuser": "on",
        "groups": ["1"],
        "user_permissions": ["1"],
    }
    before = User.objects.get(pk=person.pk)
    assert client.post(page(User, "change", person.pk), wanted).status_code == 302
    after = User.objects.get(pk=person.pk)
    assert (after.username, after.email) == ("renamed", "n@example.org")
    for kept in ("role", "is_active", "is_staff", "is_superuser", "password"):
        assert getattr(after, kept) == getattr(before, kept)
    assert set(after.groups.all()) == set(before.groups.all())
    assert not after.user_permissions.exists()
    assert entries()[-1]["action"] == "admin.user.change"


def test_what_changed_while_a_form_was_open_is_not_changed_back(scene: Scene, monkeypatch: pytest.MonkeyPatch):
    """A form writes the fields that were corrected and no others."""
    person = scene.people["north_user"]
    stale = User.objects.get(pk=person.pk)
    User.objects.filter(pk=person.pk).update(is_active=False)
    form = type("Form", (), {"changed_data": ["email"], "cleaned_data": {}})()
    stale.email = "n@example.org"
    admin.site._registry[User].save_model(None, stale, form, change=True)
    assert not User.objects.get(pk=person.pk).is_active


def test_nobody_is_added_and_no_password_is_set_here(scene: Scene, client: HubClient):
    form = {"username": "new", "role": "admin", "password1": "correct horse battery"}
    form["password2"] = form["password1"]
    assert client.post(page(User, "add"), form).status_code == 403
    assert not User.objects.filter(username="new").exists()
    person = scene.people["north_user"]
    before = User.objects.get(pk=person.pk).password
    # What is no page of admin leads to the page of the person, where nothing is changed either.
    client.post(f"/admin/accounts/user/{person.pk}/password/", form, follow=True)
    assert User.objects.get(pk=person.pk).password == before


def test_a_popup_answers_without_letting_a_name_out_of_its_place(scene: Scene, client: HubClient):
    name = "x</script><script>alert(1)</script>"
    answer = client.post(page(Hospital, "add") + "?_popup=1", {"name": name, "_popup": "1"})
    assert answer.status_code == 200
    assert b"<script>alert" not in answer.content
    assert b"</script><script>" not in answer.content


def test_a_membership_that_is_deleted_ends_by_the_pipeline(scene: Scene, client: HubClient):
    person = scene.people["north_doctor"]
    address = page(Membership, "delete", scene.memberships["north_doctor"].pk)
    assert client.post(address, {"post": "yes"}).status_code == 302
    assert not person.groups.exists()
    # The lease goes with it, and the job under it.
    assert {"member.remove", "lease.released", "job.cancelled"} <= {event["action"] for event in entries()[-4:]}


def test_an_agent_is_revoked_by_the_pipeline(scene: Scene, client: HubClient):
    agent = scene.agent("north").row
    form = {"action": "revoke", "_selected_action": [str(agent.pk)]}
    assert client.post(page(Agent, "changelist"), form).status_code == 302
    assert Agent.objects.get(pk=agent.pk).state == "REVOKED"
    revoked = [event for event in entries() if event["action"] == "agent.revoked"][-1]
    assert revoked["actor"] == scene.people["admin"].actor
    # Its update to the round that collects went with it.
    assert Update.objects.get(agent=agent, round=scene.open).state == "REFUSED"


def test_the_picker_of_people_finds_names_for_admins_alone(scene: Scene):
    asked = {"app_label": "accounts", "model_name": "membership", "field_name": "user", "term": "north"}
    address = reverse("admin:autocomplete")
    found = scene.client("admin").get(address, asked).json()["results"]
    assert {row["text"] for row in found} == {"north_doctor", "north_user"}
    assert {tuple(row) for row in found} == {("id", "text")}
    for caller in ("north_doctor", "outsider"):
        assert scene.client(caller).get(address, asked).status_code == 403
    for other in ("password", "hospital", "groups"):
        assert scene.client("admin").get(address, asked | {"field_name": other}).status_code in {403, 404}
