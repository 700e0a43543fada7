"""In what the matrix is written: a row for an address, a method and an object, with what each of the cast gets."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from scene import AGENTS, CALLERS, PEOPLE, Scene

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
