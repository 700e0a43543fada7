"""The page on which a model that was trained elsewhere is handed in."""

from django.contrib import messages
from django.core.files.uploadedfile import UploadedFile
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.shortcuts import redirect
from django.views.decorators.http import require_http_methods

from apps.accounts.models import User
from apps.accounts.roles import may, require
from apps.federation.api.base import audit_refusal
from apps.federation.models import Federation
from apps.federation.pipeline.membership import NOT_A_MEMBER, is_member
from apps.federation.pipeline.propose import MOST_NOTE
from apps.federation.pipeline.step import Refusal
from apps.federation.views.page import federation_of_the_page, person, show
from apps.finetune.models import ModelUpload
from apps.finetune.pipeline import lease as leases
from apps.finetune.pipeline import upload_model
from apps.finetune.tasks import have_model_read
from hospintel_core.uploaded import MAX_BYTES

SHOWN = 10


@require_http_methods(["GET", "HEAD", "POST"])
@require("fine_tune")
def upload(request: HttpRequest) -> HttpResponseBase:
    """Show the form with what became of earlier models; take a model that is sent with it."""
    refusal = _take(request) if request.method == "POST" else None
    if request.method == "POST" and refusal is None:
        messages.success(request, "The model is here. It is read now; then it waits for review.")
        return redirect("finetune:upload")
    federation, user = federation_of_the_page(), person(request)
    context = {
        "federation": federation,
        "uploads": _uploads(federation, user),
        "lease": leases.current(federation),
        "closed": "" if is_member(user, federation) else NOT_A_MEMBER,
        "refusal": refusal,
        "note": request.POST.get("note", ""),
        "most_note": MOST_NOTE,
        "most_bytes": MAX_BYTES,
    }
    return show(request, "upload", context, folder="finetune")


def _take(request: HttpRequest) -> Refusal | None:
    user = person(request)
    try:
        file = request.FILES.get("file")
        if not isinstance(file, UploadedFile):
            raise Refusal("bad_request", "Choose the file of a model first.", 400)
        taken = upload_model.receive(user, file.chunks(), note=request.POST.get("note", ""))
    except Refusal as refusal:
        audit_refusal(refusal, request, user)
        return refusal
    have_model_read(taken.pk)
    return None


def _uploads(federation: Federation, user: User) -> list[ModelUpload]:
    """Return the newest uploads that a person may see: their own, or everybody's for who reviews models."""
    found = ModelUpload.objects.filter(federation=federation).select_related("author", "parent", "version")
    if not may(user, "review_models"):
        found = found.filter(author=user)
    return list(found.order_by("-received_at")[:SHOWN])
