"""What the workbench's calls answer, for the OpenAPI document, and how it is filled."""

from typing import Any

from rest_framework import serializers

from apps.accounts.models import User
from apps.finetune.models import Lease


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
