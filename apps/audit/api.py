"""The only way to change the hub's state: `transaction()`, and inside it `record()` and `advance()`.

Inside a transaction there is no file, network or crypto work. Entries are queued and appended as its last statements,
so the change and its entry are in one commit and every transaction takes its locks in the same order.
"""

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from django.db import transaction as database
from django.db.models import Model

from apps.audit.chain import Draft, append, check_facts
from apps.audit.denials import count_known, count_unknown, flush_denials
from apps.audit.feed import events_about, events_after, moment, newest_events
from apps.audit.turns import writing
from apps.audit.verify import VerifyResult, verify
from hospintel_core.failpoints import reach

__all__ = [
    "Conflict",
    "IllegalTransition",
    "VerifyResult",
    "advance",
    "deny",
    "events_about",
    "events_after",
    "flush_denials",
    "moment",
    "newest_events",
    "on_commit",
    "record",
    "transaction",
    "verify",
]

Reference = Model | str


class Conflict(Exception):  # noqa: N818 - the name says it
    """Somebody else moved the object first: the caller's picture of it is out of date."""


class IllegalTransition(Conflict):
    """The table of states has no way from the object's state to the wanted one."""


@dataclass
class _Open:
    """What the thread's open transaction has queued."""

    drafts: list[Draft] = field(default_factory=list)
    after: list[Callable[[], object]] = field(default_factory=list)
    denials: list[Draft] = field(default_factory=list)


class _Thread(threading.local):
    open: _Open | None = None


_thread = _Thread()


@contextmanager
def transaction() -> Iterator[None]:
    """Commit everything in the block together with its audit entries, or nothing of it.

    A block inside another one joins it: its entries come with the outer commit, and if it raises, only its own part
    is undone. Denials made inside are written after the outermost block has ended, however it ended.
    """
    if _thread.open is not None:
        with _nested(_thread.open):
            yield
        return
    opened = _thread.open = _Open()
    try:
        with writing():
            yield
            reach("audit.before_append")
            if opened.drafts:
                append(opened.drafts)
            reach("audit.appended")
    finally:
        _thread.open = None
        if opened.denials:
            _write_now(opened.denials)
    reach("audit.committed")
    for function in opened.after:
        # At once, unless somebody else's transaction is around this one. Only here is the turn to write given back:
        # what is called may open a transaction of its own.
        database.on_commit(function)


@contextmanager
def _nested(opened: _Open) -> Iterator[None]:
    mark, after = len(opened.drafts), len(opened.after)
    try:
        with writing():
            yield
    except BaseException:
        del opened.drafts[mark:]
        del opened.after[after:]
        raise


def on_commit(function: Callable[[], object]) -> None:
    """Call `function` after the outermost commit; never if it is rolled back."""
    if _thread.open is None:
        database.on_commit(function)
    else:
        _thread.open.after.append(function)


def record(
    action: str,
    *,
    actor: str,
    obj: Reference | None = None,
    objects: Iterable[Reference] = (),
    outcome: str = "ok",
    visibility: str = "everyone",
    **facts: object,
) -> None:
    """Queue an entry for the open transaction.

    Args:
        action: `<what>.<verb>`, such as "round.open".
        actor: "agent:<uuid>", "user:<pk>", "command:<name>", "system:<what>" or "unknown".
        obj: what it happened to: a saved row, or a "kind:id" of something without one.
        objects: further objects it concerns.
        outcome: "ok", "refused" or "denied".
        visibility: "everyone" (who is signed in), "admin" or "hospital:<id>".
        facts: short scalars.

    Raises:
        RuntimeError: outside a transaction().
        TypeError, ValueError: a fact that is no short scalar.

    """
    opened = _thread.open
    if opened is None:
        raise RuntimeError(f"record({action!r}) outside audit.transaction().")
    opened.drafts.append(_draft(action, actor, obj, objects, outcome, visibility, facts))


def advance(
    obj: Model,
    to: str,
    *,
    actor: str,
    changes: Mapping[str, object] | None = None,
    objects: Iterable[Reference] = (),
    outcome: str = "ok",
    visibility: str = "everyone",
    **facts: object,
) -> None:
    """Move `obj` to the state `to`, if it still is in the state that the caller saw, and queue the entry.

    This is the only writer of a state. `changes` are further columns of the same row, written by the same UPDATE.
    The entry's action is "<model>.<to in lower case>", and its facts name the state it came from. `obj` is brought up
    to date in memory.

    Raises:
        IllegalTransition: type(obj).TRANSITIONS has no such step.
        Conflict: the row is no longer in the state that `obj` has in memory.
        RuntimeError: outside a transaction().

    """
    model = type(obj)
    name = _name(obj)
    target, origin = str(to), str(obj.state)  # type: ignore[attr-defined] # every model with TRANSITIONS has a state
    if _thread.open is None:
        raise RuntimeError(f"advance() of {name} outside audit.transaction().")
    table: Mapping[str, frozenset[str]] = model.TRANSITIONS  # type: ignore[attr-defined]
    if target not in table.get(origin, frozenset()):
        raise IllegalTransition(f"A {name} cannot go from {origin} to {target}.")
    values = {**(changes or {}), "state": target}
    if model._base_manager.filter(pk=obj.pk, state=origin).update(**values) != 1:  # noqa: SLF001 - unfiltered
        raise Conflict(f"The {name} is no longer {origin}.")
    record(
        f"{name}.{target.lower()}",
        actor=actor,
        obj=obj,
        objects=objects,
        outcome=outcome,
        visibility=visibility,
        was=origin,
        **facts,
    )
    computed = [column for column, value in values.items() if hasattr(value, "resolve_expression")]
    for column, value in values.items():
        if column not in computed:
            setattr(obj, column, value)
    if computed:
        obj.refresh_from_db(fields=computed)


def deny(
    action: str,
    *,
    code: str,
    actor: str,
    address: str = "",
    obj: Reference | None = None,
    visibility: str = "admin",
    **facts: object,
) -> None:
    """Record that something was refused, in a transaction of its own that no rollback undoes.

    Inside a transaction() the entry waits until that has ended. Callers that nobody knows (actor "unknown") are only
    counted, by action, code and address; of a known one the first refusal of a kind is written at once and those that
    repeat it are counted. What is counted is written once a minute: nobody can fill the audit by being refused.
    """
    if actor == "unknown":
        count_unknown(action, code, address)
        return
    known = {"code": code, **({"address": address} if address else {}), **facts}
    draft = _draft(action, actor, obj, (), "denied", visibility, known)
    if not count_known(draft):
        return
    if _thread.open is not None:
        _thread.open.denials.append(draft)
    else:
        _write_now([draft])


def _write_now(drafts: list[Draft]) -> None:
    with writing():
        append(drafts)


def _draft(  # noqa: PLR0917 - one caller's signature passed on
    action: str,
    actor: str,
    obj: Reference | None,
    objects: Iterable[Reference],
    outcome: str,
    visibility: str,
    facts: Mapping[str, object],
) -> Draft:
    return Draft(
        action=action,
        actor=actor,
        object="" if obj is None else _reference(obj),
        objects=tuple(_reference(other) for other in objects),
        outcome=outcome,
        visibility=visibility,
        facts=check_facts(facts),
    )


def _reference(obj: Reference) -> str:
    if isinstance(obj, str):
        kind, _, identity = obj.partition(":")
        if not kind or not identity:
            raise ValueError(f"{obj!r} is no object of the audit: it must look like 'kind:id'.")
        return obj
    if obj.pk is None:
        raise ValueError(f"A {type(obj).__name__} that is not saved cannot be named in the audit.")
    return f"{_name(obj)}:{obj.pk}"


def _name(obj: Model) -> str:
    """Return the word for a kind of object: the model's name, or its AUDIT_NAME where screens say another word."""
    # Not type(obj): request.user is a lazy stand-in whose type is not the person's.
    return str(getattr(obj, "AUDIT_NAME", obj._meta.model_name))  # noqa: SLF001 - Django's documented way
