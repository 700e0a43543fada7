"""Each test has a hub of its own, as in tests/federation."""

from hub_fixtures import (
    cast,
    clean_hub,
    clock,
    enrolled,
    hub,
    in_loop,
    north,
    own_keys,
    snapshot,
    south,
    stranger,
    world,
)

__all__ = [
    "cast",
    "clean_hub",
    "clock",
    "enrolled",
    "hub",
    "in_loop",
    "north",
    "own_keys",
    "snapshot",
    "south",
    "stranger",
    "world",
]
