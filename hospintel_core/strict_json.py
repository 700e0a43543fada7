"""JSON with one reading only: no repeated keys, no NaN, no half surrogates; and one way to write it."""

import json
from collections.abc import Iterable
from typing import Any


class RepeatedKeyError(ValueError):
    """An object holds the same key twice, so two readers may see two values."""


def parse(text: str) -> Any:
    """Return the value of ``text``; ValueError for anything that another reader could take otherwise or refuse."""
    try:
        value = json.loads(text, object_pairs_hook=_unique)
        # Python also reads NaN, 1e999 and half surrogate pairs, which no one could write, store or print later.
        canonical(value).encode("utf-8")
    except RecursionError as error:
        raise ValueError("too deeply nested") from error
    return value


def canonical(value: object) -> str:
    """``value`` with sorted keys and no spaces; ValueError for NaN and infinities."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def _unique(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise RepeatedKeyError(key)
        found[key] = value
    return found
