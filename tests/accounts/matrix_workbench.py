"""The matrix of the workbench. North's doctor has the lease."""

from typing import Any

from rows import Row, row
from scene import Scene

from apps.finetune.pipeline import lease


def _holder(scene: Scene, answer: Any) -> str:
    """Say who has the lease, as somebody is told."""
    told = answer.json()
    return f"{told['holder']} (mine)" if told["mine"] else str(told["holder"])


def _free(scene: Scene) -> None:
    lease.release(scene.people["north_doctor"], by="holder")


LEASE: list[Row] = [
    row(
        "finetune:lease",
        "GET",
        sees=_holder,
        strangers=403,
        people="north_doctor",
        north_doctor="north_doctor (mine)",
    ),
    row("finetune:lease", "POST", everyone=403, doctors=409, admin=409, north_doctor=200),
    row("finetune:lease", "POST", what="free", before=_free, everyone=403, doctors=200, admin=200),
    row("finetune:lease", "DELETE", everyone=403, doctors=409, admin=204, north_doctor=204),
    row("finetune:lease", "DELETE", what="free", before=_free, everyone=403, doctors=409, admin=409),
]
WORKBENCH = [*LEASE]
