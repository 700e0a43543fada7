"""The matrix of signing in by a program. North's doctor has the lease."""

from typing import Any

from rows import Row, row
from scene import Scene

from apps.finetune.pipeline import lease

WHO = {"username": "north_user", "password": "correct horse battery"}


def _named(scene: Scene, answer: Any) -> str:
    """Say whether somebody has the lease, and who, as far as that is told."""
    told = answer.json()
    return f"{told['logged_in']} {told['user']}"


def _lease(scene: Scene, answer: Any) -> str:
    """Say whether the lease came with signing in."""
    came = lease.current(lease.default_federation())
    return f"{answer.json()['message'].partition('.')[0]}, {came.holder if came else 'no lease'}"


def _free(scene: Scene) -> None:
    lease.release(scene.people["north_doctor"], by="holder")


def _who(name: str) -> dict[str, str]:
    return {"username": name, "password": WHO["password"]}


SIGN_IN: list[Row] = [
    *(row(name, "POST", json=WHO, everyone=200) for name in ("finetune:login", "finetune:v1-login")),
    row(
        "finetune:login",
        "POST",
        what="as a doctor",
        before=_free,
        json=_who("south_doctor"),
        sees=_lease,
        everyone="Signed in, south_doctor",
    ),
    row(
        "finetune:login",
        "POST",
        what="as a doctor of no hospital",
        before=_free,
        json=_who("outsider"),
        sees=_lease,
        everyone="Signed in, no lease",
    ),
    # Of a person's token, which neither a session is nor an agent's.
    *(row(name, "POST", json={}, everyone=401) for name in ("finetune:logout", "finetune:v1-logout")),
    *(
        row(name, "GET", sees=_named, everyone="True None", people="True north_doctor")
        for name in ("finetune:check-session", "finetune:v1-check-session")
    ),
]
