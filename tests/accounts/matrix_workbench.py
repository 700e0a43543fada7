"""The matrix of the workbench. North's doctor has the lease."""

from typing import Any

from rows import BROWSER, LOGIN, Row, page, row
from scene import Scene, nothing

from apps.finetune.models import ModelUpload
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
    row("finetune:lease", "DELETE", everyone=403, people=409, admin=204, north_doctor=204),
    row("finetune:lease", "DELETE", what="free", before=_free, everyone=403, people=409),
    # A form answers with the page, which says whether it worked; of another's lease it says that it did not.
    row(
        "finetune:lease-take",
        "POST",
        before=_free,
        headers=BROWSER,
        strangers=LOGIN,
        people=403,
        doctors=302,
        admin=302,
    ),
    row("finetune:lease-release", "POST", headers=BROWSER, strangers=LOGIN, people=403, doctors=302, admin=302),
]


def _upload(scene: Scene) -> dict[str, Any]:
    return {"upload_id": ModelUpload.objects.get().pk}


# No file is sent: who gets 400 was let in.
UPLOADS = [
    *(
        row(name, "POST", form={"file": ""}, everyone=403, doctors=400, admin=400)
        for name in ("finetune:upload-model", "finetune:v1-upload-model")
    ),
    row(
        "finetune:model-upload",
        "GET",
        path=_upload,
        everyone=403,
        doctors=404,
        admin=200,
        north_doctor=200,
    ),
    row(
        "finetune:model-upload",
        "GET",
        what="unknown",
        path=lambda s: {"upload_id": nothing()},
        everyone=403,
        doctors=404,
        admin=404,
    ),
    page("finetune:upload", people=200, users=403),
    row(
        "finetune:upload",
        "POST",
        headers=BROWSER,
        form={"file": ""},
        strangers=LOGIN,
        people=200,
        users=403,
    ),
]
WORKBENCH = [*LEASE, *UPLOADS]
