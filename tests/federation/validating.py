"""Scans for validation sets, as an administrator brings them."""

import io
import zipfile
from typing import Any

import numpy as np

from apps.federation.models import ValidationSet
from apps.federation.pipeline import validation
from hospintel_core import domain, phantoms
from hospintel_core.architectures import CLASSES

LEAST = validation.LEAST_OF_CLASS
# For a domain check.
ENOUGH = domain.LEAST_OF_CLASS


def png(label: int, number: int, size: int = 48, seed: int = 5) -> bytes:
    """A phantom's file."""
    made = io.BytesIO()
    phantoms.draw(label, np.random.default_rng((seed, label, number)), size).save(made, "PNG")
    return made.getvalue()


def zipped(counts: dict[str, int] | int = LEAST, seed: int = 5) -> bytes:
    """A zip file with class folders."""
    wanted = dict.fromkeys(CLASSES, counts) if isinstance(counts, int) else counts
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for name, count in wanted.items():
            for number in range(count):
                archive.writestr(f"{name}/{number}.png", png(CLASSES.index(name), number, seed=seed))
    return made.getvalue()


def bring(hub: Any, admin: Any, counts: dict[str, int] | int = LEAST, seed: int = 5) -> ValidationSet:
    """A set that is being brought."""
    files = [("scans.zip", io.BytesIO(zipped(counts, seed)))]
    found, added = validation.add(admin, hub.federation, files, label=None)
    assert found is not None
    assert added.refused == []
    return found


def ready_set(hub: Any, admin: Any, counts: dict[str, int] | int = LEAST, seed: int = 5) -> ValidationSet:
    """A set that is in use."""
    found = bring(hub, admin, counts, seed)
    hub.run(validation.use(found, actor=admin.actor))
    found.refresh_from_db()
    assert (found.state, found.code) == ("READY", "")
    return found
