"""Damage that keeps a form: JSON that stays JSON, where libFuzzer's own bytes would end at the first bracket."""

import json
import random
from collections.abc import Callable
from typing import Any

ByHand = Callable[[Any, Any], bool]
JUNK: list[Any] = [None, 1, -1, 0, 1.5, 2**53, 10**30, "x", "", "0", "\ud800", "a" * 64, [], {}, [1], [[]], True, "5"]
# Of so many inputs one is left to libFuzzer although it is JSON.
LEFT = 3


def damaged_json(data: bytes, seed: int) -> bytes | None:
    """Return an input in whose JSON something else stands in one place; None where there is none, or it is left."""
    rng = random.Random(seed)
    at = data.find(b"{")
    if at < 0 or rng.randrange(LEFT) == 0:
        return None
    try:
        value = json.loads(data[at:])
    except (ValueError, RecursionError):
        return None
    return data[:at] + json.dumps(odd(rng, value), ensure_ascii=rng.random() < 0.9).encode("utf-8", "surrogatepass")


def odd(rng: random.Random, value: Any, by_hand: ByHand = lambda *_: False) -> Any:
    """Put something else in one place of a JSON value, at any depth.

    Args:
        rng: chooses.
        value: stays as it is.
        by_hand: gets the copy of an object or a list, and a place in it; returns whether it has changed it itself.
    """
    if isinstance(value, str) and value.startswith("{"):
        return _odd_text(rng, value)
    if not isinstance(value, dict | list) or not value or rng.random() < 0.1:
        return rng.choice(JUNK)
    place = rng.choice(list(value) if isinstance(value, dict) else range(len(value)))
    copy = value.copy()
    if rng.random() < 0.2:
        del copy[place]
    elif not by_hand(copy, place):
        copy[place] = odd(rng, value[place], by_hand)
    return copy


def _odd_text(rng: random.Random, text: str) -> str:
    """JSON within JSON: what is signed travels so."""
    try:
        return json.dumps(odd(rng, json.loads(text)), sort_keys=True, separators=(",", ":"))
    except (ValueError, RecursionError):
        return text[: rng.randrange(len(text))]
