"""Each test has a hub of its own, as in tests/federation."""

from hub_fixtures import *  # noqa: F403 - which they are is said there, once
