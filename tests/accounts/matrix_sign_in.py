"""The matrix of signing in by a program. North's doctor has the lease."""

from typing import Any

from rows import Row, row
from scene import Scene

WHO = {"username": "north_user", "password": "correct horse battery"}


def _named(scene: Scene, answer: Any) -> str:
    """Say whether somebody has the lease, and who, as far as that is told."""
    told = answer.json()
    return f"{told['logged_in']} {told['user']}"


SIGN_IN: list[Row] = [
    *(row(name, "POST", json=WHO, everyone=200) for name in ("finetune:login", "finetune:v1-login")),
    # Of a person's token, which neither a session is nor an agent's.
    *(row(name, "POST", json={}, everyone=401) for name in ("finetune:logout", "finetune:v1-logout")),
    *(
        row(name, "GET", sees=_named, everyone="True None", people="True north_doctor")
        for name in ("finetune:check-session", "finetune:v1-check-session")
    ),
]
