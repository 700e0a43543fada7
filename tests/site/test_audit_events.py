"""What is recorded: every event has its line in docs/audit.md and its sentence on the portal."""

import ast
import re
from pathlib import Path

from django.apps import apps

from apps.federation.words import DENIED, EVENTS

ROOT = Path(__file__).resolve().parents[2]
ACTION = re.compile(r"[a-z_]+\.[a-z_]+")


def written(tree: ast.Module) -> set[str]:
    """The actions that a module records, whether written on the spot, by a name, or as one of two."""
    named = {
        target.id: value.value
        for node in tree.body
        if isinstance(node, ast.Assign)
        for target, value in zip(leaves(node.targets[0]), leaves(node.value), strict=False)
        if isinstance(target, ast.Name) and isinstance(value, ast.Constant)
    }
    found = set()
    for call in ast.walk(tree):
        if isinstance(call, ast.Call) and getattr(call.func, "id", "") in {"record", "deny"} and call.args:
            for leaf in ast.walk(call.args[0]):
                value = named.get(leaf.id) if isinstance(leaf, ast.Name) else getattr(leaf, "value", None)
                if isinstance(value, str) and ACTION.fullmatch(value):
                    found.add(value)
    return found


def leaves(node: ast.expr) -> list[ast.expr]:
    return node.elts if isinstance(node, ast.Tuple) else [node]


def recorded() -> set[str]:
    """All actions that the hub records, but for those of refused calls and of Django admin, which name the call."""
    files = [path for folder in ("apps", "hospintel_site") for path in (ROOT / folder).rglob("*.py")]
    found = set().union(*(written(ast.parse(path.read_text())) for path in files))
    for model in apps.get_models():
        name = getattr(model, "AUDIT_NAME", model._meta.model_name)
        for following in getattr(model, "TRANSITIONS", {}).values():
            found |= {f"{name}.{str(state).lower()}" for state in following}
    return found


def described() -> set[str]:
    text = (ROOT / "docs" / "audit.md").read_text().partition("## Events")[2].partition("\n## ")[0]
    return {word for word in re.findall(r"`([^`]+)`", text) if ACTION.fullmatch(word)}


def test_actions_are_found_however_they_are_written():
    code = 'A, B = "a.one", "a.two"\nC = "a.three"\nrecord(A if x else B)\ndeny(C)\nrecord("a.four" if y else "a.five")'
    assert written(ast.parse(code)) == {"a.one", "a.two", "a.three", "a.four", "a.five"}
    assert {"round.open", "round.failed", "audit.broken", "login.ok", "update.received"} <= recorded()


def test_every_event_is_described_in_the_docs():
    assert recorded() - described() == set(), "these events need a line under Events in docs/audit.md"
    assert described() - recorded() == set(), "no such events are recorded"


def test_every_event_is_told_as_a_sentence():
    assert recorded() - set(EVENTS) == set(), "these events need a sentence in apps/federation/words.py"
    assert (set(EVENTS) | set(DENIED)) - recorded() == set(), "no such events are recorded"
