"""What the workbench's calls answer, for the OpenAPI document, and how it is filled."""

from typing import Any

from rest_framework import serializers

from apps.accounts.models import User
from apps.federation.states import VersionState
from apps.finetune.models import Lease, ModelUpload
from apps.finetune.states import ModelUploadState


class LeaseAnswer(serializers.Serializer[None]):
    """The fine-tuning lease."""

    held = serializers.BooleanField(help_text="Whether somebody has it.")
    mine = serializers.BooleanField(help_text="Whether the caller has it.")
    holder = serializers.CharField(allow_null=True, help_text="Who has it.")
    since = serializers.DateTimeField(allow_null=True)
    until = serializers.DateTimeField(allow_null=True, help_text="It ends then, unless its holder writes.")
    token = serializers.IntegerField(allow_null=True, help_text="Grows with each lease of the federation.")


def lease_answer(lease: Lease | None, user: User) -> dict[str, Any]:
    """Return what is told of a lease."""
    if lease is None:
        return {"held": False, "mine": False, "holder": None, "since": None, "until": None, "token": None}
    return {
        "held": True,
        "mine": lease.holder_id == user.pk,
        "holder": lease.holder.get_username(),
        "since": lease.since,
        "until": lease.until,
        "token": lease.token,
    }


class UploadReceived(serializers.Serializer[None]):
    """The original answer to an uploaded model, and where to ask what became of it."""

    message = serializers.CharField()
    uploaded_by = serializers.CharField(help_text="The caller's name.")
    id = serializers.UUIDField(help_text="For `GET /api/v1/uploads/<id>`.")


class UploadAnswer(serializers.Serializer[None]):
    """An uploaded model, and what became of it."""

    id = serializers.UUIDField()
    state = serializers.ChoiceField(ModelUploadState.choices)
    code = serializers.CharField(help_text="Why it was refused, or empty.")
    detail = serializers.CharField(help_text="The same as a sentence.")
    uploaded_by = serializers.CharField()
    size = serializers.IntegerField(help_text="Bytes of the file.")
    digest = serializers.CharField(help_text="SHA-256 of the file in hex.")
    isolated = serializers.BooleanField(
        allow_null=True, help_text="Whether it was read without network and files, or with limits alone."
    )
    version = serializers.UUIDField(allow_null=True, help_text="The version that it is proposed as.")
    version_state = serializers.ChoiceField(VersionState.choices, allow_null=True)


def upload_answer(upload: ModelUpload) -> dict[str, Any]:
    """Return what is told of an uploaded model."""
    return {
        "id": str(upload.pk),
        "state": upload.state,
        "code": upload.code,
        "detail": upload.detail,
        "uploaded_by": upload.author.get_username(),
        "size": upload.size,
        "digest": upload.digest,
        "isolated": upload.isolated,
        "version": str(upload.version_id) if upload.version_id else None,
        "version_state": upload.version.state if upload.version else None,
    }
