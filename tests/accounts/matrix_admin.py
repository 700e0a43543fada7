"""The matrix of Django admin: rows by pattern, for every model that is registered."""

from collections.abc import Callable
from typing import Any

from django.contrib import admin
from rows import BROWSER, LOGIN, Row, row
from scene import Scene, first_row

# What an admin may do there; a model that is not named here is for looking alone.
MAY_IN_ADMIN = {
    "accounts.user": {"change"},
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
    own = ONLY_ADMINS | {"admin": 200}
    revoke = ONLY_ADMINS | {"what": "revoke", "form": _revocation, "admin": 302}
    return [
        *(made for label in models for made in _rows_of(label)),
        *(row("admin:index", method, **own) for method in LOOKING),
        row("admin:password_change_done", "GET", **own),
        row("admin:jsi18n", "GET", **own),
        *(row("admin:app_list", method, **own | {"path": lambda s: {"app_label": "accounts"}}) for method in LOOKING),
        row("admin:autocomplete", "GET", **own | {"admin": 403}),
        *(row("admin:login", method, everyone=LOGIN) for method in LOOKING),
        row("admin:logout", "GET", **own | {"strangers": 302, "admin": 405}),
        row("admin:logout", "POST", **own | {"strangers": 302, "admin": 302}),
        row("admin:password_change", "GET", **own | {"admin": 302}),
        row("admin:password_change", "POST", **own | {"admin": 302}),
        row("admin:federation_agent_changelist", "POST", **revoke),
    ]
