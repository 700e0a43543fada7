"""The matrix of the validation set: administrators' alone. One with a single scan is being brought."""

from typing import Any

from rows import BROWSER, LOGIN, Row, page, row
from scene import Scene, nothing

from apps.federation.models import ValidationSet


def _set(scene: Scene) -> dict[str, Any]:
    return {"set_id": ValidationSet.objects.get().pk}


def _nothing(scene: Scene) -> dict[str, Any]:
    return {"set_id": nothing()}


def _verb(verb: str, which: Any = _set) -> Any:
    return lambda scene: {**which(scene), "verb": verb}


def _form(name: str, **fields: Any) -> Row:
    return row(name, "POST", headers=BROWSER, **{"strangers": LOGIN, "people": 403} | fields)


VALIDATION = [
    page("validation", people=403, admin=200),
    # No file is sent: the page says so to who may send one.
    _form("validation", form={"file": ""}, admin=200),
    _form("validation-verb", what="use", path=_verb("use"), admin=302),
    _form("validation-verb", what="delete", path=_verb("delete"), admin=302),
    _form("validation-verb", what="fly", path=_verb("fly"), admin=404),
    _form("validation-verb", what="unknown", path=_verb("use", _nothing), admin=404),
    row("validation-sets", "GET", everyone=403, admin=200),
    row("validation-scans", "POST", form={"file": ""}, everyone=403, admin=400),
    row("validation-set", "DELETE", path=_set, everyone=403, admin=204),
    row("validation-set", "DELETE", what="unknown", path=_nothing, everyone=403, admin=404),
    # It has too few scans.
    row("validation-use", "POST", path=_set, json={}, everyone=403, admin=400),
    row("validation-use", "POST", what="unknown", path=_nothing, json={}, everyone=403, admin=404),
]
