"""`POST /upload_model`, and what became of the model."""

from typing import Any
from uuid import UUID

from django.core.files.uploadedfile import UploadedFile
from django.http import Http404
from drf_spectacular.utils import extend_schema
from rest_framework.parsers import MultiPartParser
from rest_framework.request import Request
from rest_framework.response import Response

from apps.accounts.roles import may
from apps.federation.api.base import PersonView
from apps.federation.api.shapes import person_refusals
from apps.federation.permissions import allowed
from apps.federation.pipeline.step import Refusal
from apps.finetune.api.shapes import UploadAnswer, UploadReceived, upload_answer
from apps.finetune.models import ModelUpload
from apps.finetune.pipeline import upload_model
from apps.finetune.tasks import have_model_read

_FIELDS: dict[str, Any] = {
    "file": {"type": "string", "format": "binary", "description": "The model: .h5, .weights.h5 or .keras."},
    "note": {"type": "string", "description": "What the reviewer should know; at most 200 characters."},
}


class UploadModelView(PersonView):
    """A model that was trained elsewhere."""

    permission_classes = [allowed("fine_tune")]
    parser_classes = [MultiPartParser]

    @extend_schema(
        tags=["Workbench"],
        request={"multipart/form-data": {"type": "object", "properties": _FIELDS, "required": ["file"]}},
        responses={
            200: UploadReceived,
            **person_refusals(
                {
                    400: "bad_request note_long",
                    403: "not_a_member",
                    409: "lease_lost upload_waiting",
                    413: "body_too_large",
                    422: "model_unreadable",
                    507: "hub_disk_full",
                }
            ),
        },
    )
    def post(self, request: Request) -> Response:
        """Take a model of the holder of the lease; a worker reads its weights, and a reviewer decides about it.

        The rest is refused when it has been read: `GET /api/v1/uploads/<id>` says with which code.
        """
        file = request.FILES.get("file")
        if not isinstance(file, UploadedFile):
            raise Refusal("bad_request", "Send the model as the multipart field `file`.", 400)
        user = self.user
        upload = upload_model.receive(user, file.chunks(), note=request.POST.get("note", ""))
        have_model_read(upload.pk)
        message = "Model received. It is read, and then waits for review."
        return Response({"message": message, "uploaded_by": user.get_username(), "id": str(upload.pk)})


class UploadView(PersonView):
    """One uploaded model."""

    permission_classes = [allowed("fine_tune")]

    @extend_schema(tags=["Workbench"], responses={200: UploadAnswer, **person_refusals({404: "not_found"})})
    def get(self, request: Request, upload_id: UUID) -> Response:  # noqa: ARG002 - DRF's signature
        """Tell what became of an uploaded model: of one's own, or of anybody's for who reviews models."""
        user = self.user
        upload = ModelUpload.objects.select_related("author", "version").filter(pk=upload_id).first()
        if upload is None or (upload.author_id != user.pk and not may(user, "review_models")):
            raise Http404
        return Response(upload_answer(upload))
