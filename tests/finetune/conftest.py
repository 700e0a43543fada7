"""Each test has a hub of its own, as in tests/federation."""

from typing import Any

import pytest
from bench import begin, switch_on
from hub_fixtures import *  # noqa: F403 - which they are is said there, once

from apps.accounts.models import User
from apps.finetune.models import Job


@pytest.fixture
def doctor(hub: Any, cast: Any) -> User:
    """A doctor whose hospital has the workbench switched on."""
    switch_on(cast.north)
    return cast.north_doctor


@pytest.fixture
def job(doctor: User) -> Job:
    """A draft of the doctor's, without scans."""
    return begin(doctor)
