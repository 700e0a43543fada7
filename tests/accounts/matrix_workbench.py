"""The matrix of the workbench. North's doctor has the lease."""

from io import BytesIO
from typing import Any

from django.core.files.uploadedfile import SimpleUploadedFile
from PIL import Image
from rows import BROWSER, LOGIN, Row, page, row
from scene import Scene, nothing

from apps.finetune.models import Job, ModelUpload, Scan
from apps.finetune.pipeline import jobs, lease, vault


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
    row("finetune:lease", "POST", everyone=403, doctors=409, outsider=403, admin=409, north_doctor=200),
    row("finetune:lease", "POST", what="free", before=_free, everyone=403, doctors=200, outsider=403, admin=200),
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


def _no_model(scene: Scene, caller: str) -> dict[str, Any]:
    return {"file": SimpleUploadedFile("model.h5", b"no model")}


# Who gets 409 would be let in with the lease, and who gets 422 was: the file was looked at.
UPLOADS = [
    *(
        row(name, "POST", form=_no_model, everyone=403, doctors=409, outsider=403, admin=409, north_doctor=422)
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


def _job(scene: Scene) -> dict[str, Any]:
    return {"job_id": Job.objects.get().pk}


def _scan(scene: Scene) -> dict[str, Any]:
    return {"job_id": Job.objects.get().pk, "scan_id": Scan.objects.get().pk}


def _nothing(scene: Scene) -> dict[str, Any]:
    return {"job_id": nothing()}


def _listed(scene: Scene, answer: Any) -> str:
    """Say whose jobs somebody is told of."""
    return " ".join(job["owner"] for job in answer.json()["jobs"]) or "none"


def _done(scene: Scene) -> None:
    jobs.cancel(Job.objects.get(), actor=scene.people["admin"].actor)


# Others' jobs are not there. What is asked for is more than the job has, so that its owner's 400 shows who was let in.
OTHERS: dict[str, Any] = {"everyone": 403, "doctors": 404, "admin": 404}
JOBS = [
    row(
        "finetune:jobs",
        "GET",
        sees=_listed,
        everyone=403,
        doctors="none",
        north_doctor="north_doctor",
        admin="north_doctor",
    ),
    row("finetune:jobs", "POST", json={}, everyone=403, doctors=409, outsider=403, admin=409, south_doctor=403),
    row(
        "finetune:jobs",
        "POST",
        what="anew",
        before=_done,
        json={},
        **OTHERS | {"doctors": 403, "admin": 409, "north_doctor": 201},
    ),
    row("finetune:job", "GET", path=_job, **OTHERS | {"north_doctor": 200, "admin": 200}),
    row("finetune:job", "GET", what="unknown", path=_nothing, **OTHERS),
    row("finetune:job-train", "POST", path=_job, json={"epochs": 21}, **OTHERS | {"north_doctor": 400}),
    row("finetune:job-train", "POST", what="unknown", path=_nothing, json={"epochs": 1}, **OTHERS),
    row("finetune:job-cancel", "POST", path=_job, json={}, **OTHERS | {"north_doctor": 200, "admin": 200}),
    row("finetune:job-cancel", "POST", what="unknown", path=_nothing, json={}, **OTHERS),
    row("finetune:job-propose", "POST", path=_job, json={}, **OTHERS | {"north_doctor": 409}),
    row("finetune:job-propose", "POST", what="unknown", path=_nothing, json={}, **OTHERS),
    row("finetune:job-scans", "GET", path=_job, **OTHERS | {"north_doctor": 200}),
    row("finetune:job-scans", "POST", path=_job, form={"file": ""}, **OTHERS | {"north_doctor": 400}),
    row("finetune:job-scan", "PATCH", path=_scan, json={"class_name": "glioma"}, **OTHERS | {"north_doctor": 200}),
    row("finetune:job-scan", "DELETE", path=_scan, **OTHERS | {"north_doctor": 204}),
]


def _form(name: str, **fields: Any) -> Row:
    """Make the row of a form of the workbench: a refusal is told on the page to which it leads back."""
    return row(name, "POST", headers=BROWSER, **{"strangers": LOGIN, "people": 302, "users": 403} | fields)


def _sealed_anew(scene: Scene) -> None:
    """Scenes share their keys: the job's may have been erased in another one."""
    scan, picture = Scan.objects.get(), BytesIO()
    Image.new("L", (8, 8)).save(picture, "PNG")
    vault.erase(scan.job_id)
    vault.create(scan.job_id)
    vault.write(scan.job_id, scan.pk, picture.getvalue())


def _verb(verb: str, which: Any = _job) -> Any:
    return lambda scene: {**which(scene), "verb": verb}


OTHERS_PAGE: dict[str, Any] = {"people": 404, "users": 403}
OWN = OTHERS_PAGE | {"north_doctor": 302}
PAGES = [
    page("finetune:workbench", people=200, users=403),
    _form("finetune:job-begin"),
    page("finetune:job-page", path=_job, **OTHERS_PAGE | {"north_doctor": 200, "admin": 200}),
    page("finetune:job-page", what="unknown", path=_nothing, **OTHERS_PAGE),
    _form("finetune:job-page", path=_job, form={"file": ""}, **OTHERS_PAGE | {"north_doctor": 200}),
    _form("finetune:job-page", what="train", path=_job, form={"epochs": "21"}, **OTHERS_PAGE | {"north_doctor": 200}),
    _form("finetune:job-verb", what="cancel", path=_verb("cancel"), **OWN | {"admin": 302}),
    _form("finetune:job-verb", what="propose", path=_verb("propose"), **OWN),
    _form("finetune:job-verb", what="fly", path=_verb("fly"), **OTHERS_PAGE),
    _form("finetune:scan-verb", what="remove", path=_verb("remove", _scan), **OWN),
    _form("finetune:scan-verb", what="class", path=_verb("class", _scan), form={"class_name": "notumor"}, **OWN),
    _form("finetune:scan-verb", what="fly", path=_verb("fly", _scan), **OTHERS_PAGE),
    page("finetune:scan-preview", path=_scan, before=_sealed_anew, **OTHERS_PAGE | {"north_doctor": 200}),
]
WORKBENCH = [*LEASE, *UPLOADS, *JOBS, *PAGES]
