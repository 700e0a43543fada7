"""Who gets what: a row for every address and method of the hub, with the answer that each of the cast gets.

A page that is new gets its rows in ROWS; the test of an address without one fails. A row reads

    row("steer-run", "POST", path=lambda s: {...}, json={...}, anonymous=403, people=403, admin=200, agents=403)

The answers are a status, or LOGIN where the caller is sent to sign in. They are given for callers or groups of them
(GROUPS), and what stands later wins; every caller needs one. `path` gives the address' own parts from the scene;
`json`, `form` and `headers` are what is sent, or functions of (scene, caller). `before` brings the scene into the state
that the row needs. Where it is not the status alone that matters, `sees` says in words what an answer shows, and the
answers are those words. Rows of one address that differ in the object say which in `what`. Others' objects answer 404.
HEAD goes with GET; OPTIONS is tested for all; a method that no row names must be refused.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from django.contrib import admin
from scene import AGENTS, CALLERS, PEOPLE, Scene, first_row, nothing
from site_agent import SLUG, b64

from apps.audit.models import AuditEntry
from apps.federation.models import Run
from apps.federation.pipeline import runs

LOGIN = "/accounts/login/?next="
GROUPS: dict[str, tuple[str, ...]] = {
    "everyone": CALLERS,
    "people": PEOPLE,
    "doctors": ("north_doctor", "south_doctor", "outsider"),
    "users": ("north_user", "south_user"),
    "north": ("north_doctor", "north_user"),
    "south": ("south_doctor", "south_user"),
    "members": ("north_doctor", "north_user", "south_doctor", "south_user"),
    "agents": AGENTS,
    # Pages know people by their session; an agent's token says nothing there.
    "strangers": ("anonymous", *AGENTS),
} | {caller: (caller,) for caller in CALLERS}
BROWSER = {"Accept": "text/html"}
Answer = int | str
Sent = Any


@dataclass(frozen=True)
class Row:
    """One address, one method, one object: what each caller gets."""

    name: str
    method: str
    answers: Mapping[str, Answer]
    what: str = ""
    path: Callable[[Scene], Mapping[str, Any]] = lambda scene: {}
    query: str = ""
    json: Sent = None
    form: Sent = None
    headers: Sent = None
    before: Callable[[Scene], object] | None = None
    sees: Callable[[Scene, Any], str] | None = None

    def __str__(self) -> str:
        return " ".join(filter(None, (self.name, self.method, self.what)))


def row(name: str, method: str, **fields: Any) -> Row:
    """Make a row; answers by caller or group, the later one wins."""
    answers: dict[str, Answer] = {}
    for group in [key for key in fields if key in GROUPS]:
        answers |= dict.fromkeys(GROUPS[group], fields.pop(group))
    missing = set(CALLERS) - set(answers)
    if missing:
        raise ValueError(f"{name} {method}: what do {sorted(missing)} get?")
    return Row(name, method, answers, **fields)


def page(name: str, **fields: Any) -> Row:
    """Make the row of a page that people look at: strangers go to the login page."""
    return row(name, "GET", headers=BROWSER, **{"strangers": LOGIN} | fields)


# --- Open to anyone, and the doors ------------------------------------------------------------------------------------
PASSWORD = {"username": "north_user", "password": "correct horse battery"}
PUBLIC = [
    row("healthz", "GET", everyone=200),
    *(row(name, "GET", everyone=200) for name in ("schema", "docs", "redoc")),
    row("index", "GET", what="by a program", everyone=200),
    page("index", what="by a browser", people=200),
    *(row(name, "GET", everyone=200) for name in ("status", "v1-status", "public-key", "v1-public-key", "identity")),
    row("federation-status", "GET", path=lambda s: {"slug": SLUG}, everyone=200),
    row("federation-status", "GET", what="unknown", path=lambda s: {"slug": "none"}, everyone=404),
    row("accounts:login", "GET", headers=BROWSER, strangers=200, people=302),
    row("accounts:login", "POST", form=PASSWORD, everyone=302),
    row("accounts:logout", "POST", everyone=302),
    row("accounts:first-admin", "GET", path=lambda s: {"token": "x" * 43}, everyone=404),
    row("accounts:first-admin", "POST", path=lambda s: {"token": "x" * 43}, form=PASSWORD, everyone=404),
]

# --- People's calls ---------------------------------------------------------------------------------------------------


def _no_run(scene: Scene) -> None:
    for run in Run.objects.filter(state__in=["RUNNING", "PAUSED"]):
        runs.abort(run, actor="system:test")


def _paused(scene: Scene) -> None:
    runs.pause(Run.objects.get(pk=scene.open.run_id), actor="system:test")


def _run(scene: Scene, verb: str) -> dict[str, Any]:
    return {"slug": SLUG, "run_id": scene.open.run_id, "verb": verb}


def _steer(verb: str, **fields: Any) -> Row:
    return row("steer-run", "POST", what=verb, path=lambda s: _run(s, verb), everyone=403, **fields)


def _decide(verb: str, which: str, **fields: Any) -> Row:
    def path(scene: Scene) -> dict[str, Any]:
        return {"version_id": getattr(scene, which).pk, "verb": verb}

    return row("decide-version", "POST", what=verb, path=path, json={}, everyone=403, **fields)


def _whose(scene: Scene, answer: Any) -> str:
    """Say for whom the events are that somebody gets."""
    names = {hospital.visibility: name for name, hospital in scene.hospitals.items()}
    found = {event["visibility"] for event in answer.json()["events"]}
    return " ".join(sorted(names.get(visibility, visibility) for visibility in found))


CALLS = [
    row(
        "events",
        "GET",
        sees=_whose,
        strangers=403,
        admin="admin everyone island north south",
        outsider="everyone",
        north="everyone north",
        south="everyone south",
    ),
    row("audit-checkpoints", "GET", everyone=403, admin=200),
    row("runs", "POST", path=lambda s: {"slug": SLUG}, json={"rounds": 1}, before=_no_run, everyone=403, admin=201),
    row("runs", "POST", what="elsewhere", path=lambda s: {"slug": "none"}, json={"rounds": 1}, everyone=403, admin=404),
    _steer("pause", admin=200),
    _steer("resume", before=_paused, admin=200),
    _steer("abort", admin=200),
    _steer("fly", admin=404),
    _decide("publish", "held", admin=200),
    _decide("reject", "held", admin=200),
    _decide("rollback", "old", admin=200),
    _decide("fly", "old", admin=404),
]

# --- Pages ------------------------------------------------------------------------------------------------------------


def _numbers(scene: Scene, answer: Any) -> str:
    """Say whose figures a round's page shows: the size of an update stands only in its own row."""
    rows = answer.content.decode().partition('id="updates-table"')[2].partition("</table>")[0].split('<th scope="row">')
    shown = [row.partition("<")[0].partition(" ")[0].lower() for row in rows[1:] if " kB</td>" in row]
    return " ".join(sorted(shown)) or "nobody's"


def _round(which: str) -> Callable[[Scene], dict[str, Any]]:
    return lambda scene: {"round_id": getattr(scene, which).pk}


def _hidden(scene: Scene, answer: Any) -> str:
    """Say whether the list has entries that only administrators may see."""
    return "everything" if "person.role" in answer.content.decode().partition("<tbody>")[2] else "not everything"


def _entry(visibility: str) -> Callable[[Scene], dict[str, Any]]:
    def path(scene: Scene) -> dict[str, Any]:
        name = scene.hospitals[visibility].visibility if visibility in scene.hospitals else visibility
        return {"seq": AuditEntry.objects.filter(visibility=name).latest("seq").seq}

    return path


def _form(name: str, **fields: Any) -> Row:
    """Make the row of an administrator's form: strangers sign in first, others may not."""
    return row(name, "POST", headers=BROWSER, **{"strangers": LOGIN, "people": 403} | fields)


def _steer_form(verb: str, **fields: Any) -> Row:
    return _form("run-steer", what=verb, path=lambda s: {"run_id": s.open.run_id, "verb": verb}, **fields)


def _decide_form(verb: str, which: str, **fields: Any) -> Row:
    path = {"path": lambda s: {"version_id": getattr(s, which).pk, "verb": verb}}
    return _form("version-decide", what=verb, **path, **fields)


def _hospital(name: str) -> Callable[[Scene], dict[str, Any]]:
    return lambda scene: {"slug": scene.hospitals[name].slug}


def _agent(name: str) -> Callable[[Scene], dict[str, Any]]:
    return lambda scene: {"agent_id": scene.world.agents[name].agent_id}


def _listed(scene: Scene, answer: Any) -> str:
    """Say which hospitals a list shows."""
    text = answer.content.decode()
    return (
        " ".join(sorted(name for name, one in scene.hospitals.items() if f'id="hospital-{one.pk}"' in text)) or "none"
    )


CODE = {"minutes": 60, "max_samples": 100}
HOSPITALS = [
    page("hospitals", sees=_listed, admin="island north south", outsider="none", north="north", south="south"),
    _form("hospital-add", form={"name": "East Clinic"}, admin=302),
    page("hospital", path=_hospital("north"), people=404, north=200, admin=200),
    page("hospital", what="unknown", path=lambda s: {"slug": "nowhere"}, people=404),
    _form("hospital-code", path=_hospital("north"), form=CODE, admin=200),
    _form("hospital-code", what="unknown", path=lambda s: {"slug": "nowhere"}, form=CODE, admin=404),
    _form("code-withdraw", path=lambda s: {"code_id": s.codes["north"].pk}, admin=302),
    _form("code-withdraw", what="unknown", path=lambda s: {"code_id": nothing()}, admin=404),
    _form("agent-revoke", path=_agent("north"), admin=302),
    _form("agent-revoke", what="unknown", path=lambda s: {"agent_id": nothing()}, admin=404),
    _form("agent-check", path=_agent("north"), people=404, north=302, admin=302),
    _form("agent-check", what="unknown", path=lambda s: {"agent_id": nothing()}, people=404),
]
PAGES = [
    *HOSPITALS,
    page("rounds", people=200),
    page("audit", sees=_hidden, people="not everything", admin="everything"),
    page("audit-entry", what="for administrators", path=_entry("admin"), people=404, admin=200),
    page("audit-entry", what="of North", path=_entry("north"), people=404, admin=200, north=200),
    page("audit-entry", what="for everyone", path=_entry("everyone"), people=200),
    page("audit-entry", what="unknown", path=lambda s: {"seq": 2**70}, people=404),
    _form("audit-verify", admin=302),
    _form("audit-export", admin=200),
    page("models", people=200),
    page(
        "round",
        path=_round("finished"),
        sees=_numbers,
        admin="north south",
        outsider="nobody's",
        north="north",
        south="south",
    ),
    page("round", what="open", path=_round("open"), people=200),
    page("round", what="unknown", path=lambda s: {"round_id": nothing()}, people=404),
    _form("run-start", form={"rounds": 1, "epochs": 1}, before=_no_run, admin=302),
    _steer_form("pause", admin=302),
    _steer_form("resume", before=_paused, admin=302),
    _steer_form("abort", admin=302),
    _steer_form("fly", admin=404),
    _decide_form("publish", "held", admin=302),
    _decide_form("reject", "held", admin=302),
    _decide_form("rollback", "old", admin=302),
    _decide_form("fly", "old", admin=404),
]

# --- Agents' calls ----------------------------------------------------------------------------------------------------


def _report(scene: Scene, caller: str) -> dict[str, str]:
    return {"body": "{}", "signature": b64(bytes(64))}


def _enrolment(scene: Scene, caller: str) -> dict[str, str]:
    return {"code": "wrong", "public_key": b64(bytes(32)), "proof": b64(bytes(64))}


def _model(name: str, **path: str) -> list[Row]:
    return [row(name, "GET", path=lambda s: path, everyone=200, anonymous=401, users=403, island_agent=404)]


def _for_agents(name: str, method: str, **fields: Any) -> Row:
    """Make the row of a call that is for agents: everybody else lacks a token."""
    return row(name, method, anonymous=401, people=401, **fields)


ONE_BYTE = {"Upload-Length": "1", "Upload-Digest": "0" * 64}
MODELS = [
    *_model("model"),
    *_model("v1-model"),
    *_model("federation-model", slug=SLUG),
    row(
        "federation-model",
        "GET",
        what="unknown",
        path=lambda s: {"slug": "none"},
        everyone=404,
        anonymous=401,
        users=403,
    ),
    _for_agents("head", "GET", path=lambda s: {"digest": s.old.digest}, agents=200, island_agent=404),
    _for_agents("head", "GET", what="unknown", path=lambda s: {"digest": "0" * 64}, agents=404),
]
UPLOADS = [
    # What is sent here is no update: an agent that gets 400, 409 or 422 was let in, and its bytes were looked at.
    _for_agents("update", "POST", form={"file": ""}, agents=400),
    _for_agents("v1-update", "POST", form={"file": ""}, agents=400),
    _for_agents("round-update", "GET", path=lambda s: {"round_id": s.open.pk}, agents=200, island_agent=404),
    _for_agents("round-update", "GET", what="unknown", path=lambda s: {"round_id": nothing()}, agents=404),
    _for_agents(
        "round-update",
        "PUT",
        path=lambda s: {"round_id": s.open.pk},
        query="?offset=0",
        headers=ONE_BYTE,
        agents=422,
        north_agent=409,
        island_agent=404,
    ),
    _for_agents(
        "round-report", "POST", path=lambda s: {"round_id": s.finished.pk}, json=_report, agents=409, island_agent=404
    ),
]
AGENT_CALLS = [
    row("enrol", "POST", json=_enrolment, everyone=403),
    _for_agents("task", "GET", path=lambda s: {"slug": SLUG}, agents=200, north_agent=204, island_agent=404),
    _for_agents("task", "GET", what="unknown", path=lambda s: {"slug": "none"}, agents=404),
    *MODELS,
    *UPLOADS,
]

# --- Django admin: by pattern -----------------------------------------------------------------------------------------
# What an admin may do there; a model that is not named here is for looking alone.
MAY_IN_ADMIN = {
    "accounts.user": {"add", "change"},
    "accounts.hospital": {"add"},
    "accounts.membership": {"add", "delete"},
}
# Django's pages that only show something do so for POST too.
LOOKING = ("GET", "POST")
ONLY_ADMINS: dict[str, Any] = {"strangers": "/admin/login/?next=", "people": 403, "headers": BROWSER}


def _admin_path(label: str) -> Callable[[Scene], dict[str, Any]]:
    def path(scene: Scene) -> dict[str, Any]:
        return {"object_id": str(first_row(scene, label))}

    return path


def _rows_of(label: str) -> list[Row]:
    """Make the rows of one model: the list and its actions, adding, one object's three pages."""
    can, name = MAY_IN_ADMIN.get(label, set()), f"admin:{label.replace('.', '_')}"
    one = ONLY_ADMINS | {"path": _admin_path(label)}

    def gate(verb: str) -> int:
        return 200 if verb in can else 403

    return [
        row(f"{name}_changelist", "GET", **ONLY_ADMINS | {"admin": 200}),
        row(f"{name}_changelist", "POST", **ONLY_ADMINS | {"form": {"action": "delete_selected"}, "admin": 200}),
        row(f"{name}_add", "GET", **ONLY_ADMINS | {"admin": gate("add")}),
        row(f"{name}_add", "POST", **ONLY_ADMINS | {"admin": gate("add")}),
        row(f"{name}_change", "GET", **one | {"admin": 200}),
        row(f"{name}_change", "POST", **one | {"admin": gate("change")}),
        *(row(f"{name}_history", method, **one | {"admin": 200}) for method in LOOKING),
        row(f"{name}_delete", "GET", **one | {"admin": gate("delete")}),
        row(f"{name}_delete", "POST", **one | {"admin": gate("delete")}),
    ]


def _revocation(scene: Scene, caller: str) -> dict[str, Any]:
    return {"action": "revoke", "_selected_action": [scene.world.agents["north"].agent_id]}


def admin_rows() -> list[Row]:
    """Make the rows of every model that is registered, and of admin's own pages."""
    models = [model._meta.label_lower for model in admin.site._registry]
    password = ONLY_ADMINS | {"path": lambda s: {"id": s.people["north_user"].pk}, "admin": 200}
    own = ONLY_ADMINS | {"admin": 200}
    revoke = ONLY_ADMINS | {"what": "revoke", "form": _revocation, "admin": 302}
    type_and_id: dict[str, Any] = {"path": lambda s: {"content_type_id": "1", "object_id": "1"}, "admin": 404}
    return [
        *(made for label in models for made in _rows_of(label)),
        *(row("admin:index", method, **own) for method in LOOKING),
        row("admin:password_change_done", "GET", **own),
        row("admin:jsi18n", "GET", **own),
        *(row("admin:app_list", method, **own | {"path": lambda s: {"app_label": "accounts"}}) for method in LOOKING),
        row("admin:autocomplete", "GET", **own | {"admin": 403}),
        *(row("admin:view_on_site", method, **own | type_and_id) for method in LOOKING),
        *(row("admin:login", method, everyone=LOGIN) for method in LOOKING),
        row("admin:logout", "GET", **own | {"strangers": 302, "admin": 405}),
        row("admin:logout", "POST", **own | {"strangers": 302, "admin": 302}),
        row("admin:password_change", "GET", **own),
        row("admin:password_change", "POST", **own),
        row("admin:federation_agent_changelist", "POST", **revoke),
        row("admin:auth_user_password_change", "GET", **password),
        row("admin:auth_user_password_change", "POST", **password),
    ]


ROWS: list[Row] = [*PUBLIC, *CALLS, *PAGES, *AGENT_CALLS, *admin_rows()]
