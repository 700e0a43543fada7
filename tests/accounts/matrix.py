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

from collections.abc import Callable
from typing import Any

from matrix_admin import admin_rows
from matrix_sign_in import SIGN_IN
from matrix_validation import VALIDATION
from matrix_workbench import WORKBENCH
from rows import BROWSER, LOGIN, Row, page, row
from scene import Scene, nothing
from site_agent import SLUG, b64

from apps.audit.models import AuditEntry
from apps.federation.models import Attempt, Run
from apps.federation.pipeline import runs

# --- Open to anyone, and the doors ------------------------------------------------------------------------------------
PASSWORD = {"username": "north_user", "password": "correct horse battery"}
WRONG_LINK = {"token": "x" * 43, "new_password1": "staple battery horse", "new_password2": "staple battery horse"}


def _said_of_link(scene: Scene, answer: Any) -> str:
    return "used" if "This link is used" in answer.content.decode() else "open"


PUBLIC = [
    row("healthz", "GET", everyone=200),
    # Nothing ticks or works in the scene.
    row("readyz", "GET", everyone=503),
    row("metrics", "GET", what="on the hub's machine", everyone=200),
    row("metrics", "GET", what="from elsewhere", headers={"X-Forwarded-For": "192.0.2.1"}, everyone=403),
    *(row(name, "GET", everyone=200) for name in ("schema", "docs", "redoc")),
    row("index", "GET", what="by a program", everyone=200),
    page("index", what="by a browser", people=200),
    *(row(name, "GET", everyone=200) for name in ("status", "v1-status", "public-key", "v1-public-key", "identity")),
    row("federation-status", "GET", path=lambda s: {"slug": SLUG}, everyone=200),
    row("federation-status", "GET", what="unknown", path=lambda s: {"slug": "none"}, everyone=404),
    row("accounts:login", "GET", headers=BROWSER, strangers=200, people=302),
    row("accounts:login", "POST", form=PASSWORD, everyone=302),
    row("accounts:login-code", "GET", headers=BROWSER, everyone=302),
    row("accounts:login-code", "POST", form={"otp": "123456"}, everyone=302),
    row("accounts:logout", "POST", everyone=302),
    row("accounts:first-admin", "GET", everyone=410),
    row("accounts:first-admin", "POST", form=WRONG_LINK, everyone=410),
    row("accounts:password-link", "GET", everyone=200),
    row("accounts:password-link", "POST", form=WRONG_LINK, sees=_said_of_link, everyone="used"),
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

    return row("decide-version", "POST", what=verb, path=path, json={"reason": "x"}, everyone=403, **fields)


def _whose(scene: Scene, answer: Any) -> str:
    """Say for whom the events are that somebody gets."""
    names = {hospital.visibility: name for name, hospital in scene.hospitals.items()}
    found = {event["visibility"] for event in answer.json()["events"]}
    return " ".join(sorted(names.get(visibility, visibility) for visibility in found))


def _compare(other: str) -> Callable[[Scene], dict[str, Any]]:
    return lambda s: {"slug": SLUG, "a": s.old.pk, "b": getattr(s, other).pk if other else nothing()}


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
    row("versions", "GET", path=lambda s: {"slug": SLUG}, strangers=403, people=200, outsider=404),
    row("versions", "GET", what="elsewhere", path=lambda s: {"slug": "none"}, strangers=403, people=404),
    row("versions-compare", "GET", path=_compare("held"), strangers=403, people=200, outsider=404),
    row("versions-compare", "GET", what="the same", path=_compare("old"), strangers=403, people=400, outsider=404),
    row("versions-compare", "GET", what="unknown", path=_compare(""), strangers=403, people=404),
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


def _field(scene: Scene, answer: Any) -> str:
    """Say whether there is a field for a scan."""
    return "the field" if 'id="scan"' in answer.content.decode() else "why not"


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
    _form("hospital-workbench", path=_hospital("north"), form={"on": "0"}, admin=302),
    _form("hospital-workbench", what="unknown", path=lambda s: {"slug": "nowhere"}, form={"on": "1"}, admin=404),
    _form("code-withdraw", path=lambda s: {"code_id": s.codes["north"].pk}, admin=302),
    _form("code-withdraw", what="unknown", path=lambda s: {"code_id": nothing()}, admin=404),
    _form("agent-revoke", path=_agent("north"), admin=302),
    _form("agent-revoke", what="unknown", path=lambda s: {"agent_id": nothing()}, admin=404),
    _form("agent-check", path=_agent("north"), people=404, north=302, admin=302),
    _form("agent-check", what="unknown", path=lambda s: {"agent_id": nothing()}, people=404),
]
NEW = "staple battery horse"


def _person(scene: Scene) -> dict[str, Any]:
    return {"pk": scene.people["north_user"].pk}


def _nobody(scene: Scene) -> dict[str, Any]:
    return {"pk": 10**9}


def _of_people(name: str, method: str = "POST", **fields: Any) -> Row:
    """Make the row of a page that administrators have for a person, or for everybody."""
    row_of = _form if method == "POST" else page
    return row_of(f"accounts:{name}", **{"people": 403} | fields)


def _act_on_person(verb: str, **fields: Any) -> Row:
    return _of_people("person-act", what=verb, path=lambda s: {**_person(s), "verb": verb}, **fields)


PERSON = {"username": "new", "role": "doctor"}
ACCOUNTS = [
    page("accounts:account", people=200),
    _form(
        "accounts:account-password",
        form={"old_password": PASSWORD["password"], "new_password1": NEW, "new_password2": NEW},
        people=302,
    ),
    row("accounts:account-session", "GET", strangers=401, people=200),
    row("accounts:account-session", "POST", strangers=401, people=200),
    page("accounts:second-factor", people=200),
    _form("accounts:second-factor", form={"code": "123456"}, people=200),
    _form("accounts:second-factor-codes", people=302),
    _form("accounts:second-factor-off", people=302),
    _form("accounts:token-revoke", path=lambda s: {"pk": 10**9}, people=302),
    _of_people("people", "GET", admin=200),
    _of_people("person-add", form=PERSON, admin=200),
    _of_people("person", "GET", path=_person, admin=200),
    _of_people("person", "GET", what="unknown", path=_nobody, admin=404),
    _of_people("person-change", path=_person, form={"role": "doctor"}, admin=302),
    _of_people("person-change", what="unknown", path=_nobody, form={"role": "doctor"}, admin=404),
    _of_people("person-link", path=_person, admin=200),
    _of_people("person-link", what="unknown", path=_nobody, admin=404),
    *(_act_on_person(verb, admin=302) for verb in ("activate", "deactivate", "sign-out", "reset-second-factor")),
    _act_on_person("fly", admin=404),
]
PAGES = [
    *HOSPITALS,
    *ACCOUNTS,
    page("rounds", people=200),
    page("audit", query="?action=person.role", sees=_hidden, people="not everything", admin="everything"),
    page("audit-entry", what="for administrators", path=_entry("admin"), people=404, admin=200),
    page("audit-entry", what="of North", path=_entry("north"), people=404, admin=200, north=200),
    page("audit-entry", what="for everyone", path=_entry("everyone"), people=200),
    page("audit-entry", what="unknown", path=lambda s: {"seq": 2**70}, people=404),
    _form("audit-verify", admin=302),
    _form("audit-export", admin=200),
    page("models", people=200),
    page("version", path=lambda s: {"version_id": s.old.pk}, people=200),
    page("version", what="held", path=lambda s: {"version_id": s.held.pk}, people=200),
    page("version", what="unknown", path=lambda s: {"version_id": nothing()}, people=404),
    page("compare", people=200),
    page("lineage", people=200),
    page("settings", people=403, admin=200),
    _form("settings-change", form={"min_updates": "none"}, admin=200),
    page("analyse", sees=_field, people="the field", users=403, outsider="why not"),
    page("analyse-model", people=200, users=403, outsider=403),
    # What is sent here is no sealed scan: a doctor who gets 422 was let in, and the bytes were looked at.
    _form("analyse-ask", people=422, users=403, outsider=403),
    page("analyse-answer", path=lambda s: {"reading_id": nothing()}, people=404, users=403, outsider=403),
    page("analyse-file", path=lambda s: {"digest": "0" * 64}, people=404, users=403, outsider=403),
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
    _form("step-retry", path=lambda s: {"attempt_id": Attempt.objects.get().pk}, admin=302),
    _form("step-retry", what="unknown", path=lambda s: {"attempt_id": nothing()}, admin=404),
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


# Models are for people of the hospitals that take part, and for agents.
OUT = {"anonymous": 401, "users": 403, "outsider": 403}


def _model(name: str, **path: str) -> list[Row]:
    return [row(name, "GET", path=lambda s: path, everyone=200, **OUT, island_agent=404)]


def _file(name: str) -> list[Row]:
    """Make the rows of the file of a version: who gets 503 was let in, and the worker is asked to write it."""
    also = OUT | {"agents": 403}
    return [
        row(name, "GET", path=lambda s: {"version_id": s.old.pk}, everyone=503, **also),
        row(name, "GET", what="held", path=lambda s: {"version_id": s.held.pk}, everyone=409, **also),
        row(
            name,
            "GET",
            what="unknown",
            path=lambda s: {"version_id": nothing()},
            everyone=404,
            **also | {"outsider": 404},
        ),
    ]


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
    *_file("version-file"),
    *_file("v1-version-file"),
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
    _for_agents("checkpoint", "POST", path=lambda s: {"slug": SLUG}, json={"kept": ""}, agents=200, island_agent=404),
    _for_agents("task", "GET", what="unknown", path=lambda s: {"slug": "none"}, agents=404),
    *MODELS,
    *UPLOADS,
]

ROWS: list[Row] = [*PUBLIC, *CALLS, *PAGES, *AGENT_CALLS, *SIGN_IN, *WORKBENCH, *VALIDATION, *admin_rows()]
