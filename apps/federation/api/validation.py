"""`/api/v1/validation`: the scans on the hub with which versions are measured."""

from typing import Any
from uuid import UUID

from django.http import Http404, HttpResponse
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.parsers import MultiPartParser
from rest_framework.request import Request
from rest_framework.response import Response

from apps.federation import validations
from apps.federation.api.base import PersonView, sent
from apps.federation.api.scan_files import UNREADABLE, files_form, told
from apps.federation.api.shapes import CopyAnswer, ProblemAnswer, person_refusals
from apps.federation.models import ValidationSet
from apps.federation.permissions import allowed
from apps.federation.pipeline import incoming, validation
from apps.federation.states import ValidationState
from apps.federation.tasks import enqueue
from apps.federation.views.page import federation_of_the_page


class SetAnswer(serializers.Serializer[None]):
    """A validation set."""

    id = serializers.UUIDField()
    state = serializers.ChoiceField(ValidationState.choices)
    code = serializers.CharField(help_text="Why it failed, or empty.")
    author = serializers.CharField()
    counts = serializers.DictField(child=serializers.IntegerField(), help_text="Class -> scans.")
    domain_check = serializers.BooleanField(
        help_text="Whether the page Analyse compares scans with it, or will: that takes 50 scans of each class."
    )
    prepared = serializers.IntegerField(help_text="Scans whose features are computed.")
    digest = serializers.CharField(help_text="SHA-256 over classes and scans, once it was sent to be prepared.")
    created_at = serializers.DateTimeField()
    ready_at = serializers.DateTimeField(allow_null=True)
    ended_at = serializers.DateTimeField(allow_null=True)
    erased_at = serializers.DateTimeField(allow_null=True, help_text="When its scans were deleted.")


class SetsAnswer(serializers.Serializer[None]):
    """All that there are; the confusion counts are the current version's on the set in use, rows are the truth."""

    least_of_class = serializers.IntegerField(help_text="Scans that each class needs.")
    ready = SetAnswer(allow_null=True)
    coming = SetAnswer(allow_null=True, help_text="The one that is brought or prepared.")
    ended = SetAnswer(many=True, help_text="The newest first.")
    confusion = serializers.ListField(child=serializers.ListField(child=serializers.IntegerField()), allow_null=True)


class BroughtAnswer(serializers.Serializer[None]):
    """What became of the files."""

    set = SetAnswer()
    taken = serializers.IntegerField()
    copies = CopyAnswer(many=True)
    refused = ProblemAnswer(many=True)


def set_answer(row: validations.SetRow | None) -> dict[str, Any] | None:
    """Return what is told of a set."""
    if row is None:
        return None
    same = ("id", "state", "code", "prepared", "digest", "created_at", "ready_at", "ended_at", "erased_at")
    columns = {name: getattr(row.found, name) for name in same}
    return {**columns, "author": row.found.author.get_username(), "counts": row.counts, "domain_check": row.compares}


class AdminView(PersonView):
    """A call about the validation set."""

    permission_classes = [allowed("manage_validation")]

    def found(self, set_id: UUID) -> ValidationSet:
        """Return a set. Raises Http404."""
        found = federation_of_the_page().validation_sets.select_related("author", "federation").filter(pk=set_id)
        if not found:
            raise Http404
        return found[0]


class ValidationView(AdminView):
    """The sets."""

    @extend_schema(tags=["Admins"], responses={200: SetsAnswer, **person_refusals()})
    def get(self, request: Request) -> Response:  # noqa: ARG002 - DRF's signature
        """Tell which scans versions are measured with, and what the current version does on them."""
        federation = federation_of_the_page()
        sets, figures = validations.of(federation), validations.measured(federation)
        return Response(
            {
                "least_of_class": validation.LEAST_OF_CLASS,
                "ready": set_answer(sets.ready),
                "coming": set_answer(sets.coming),
                "ended": [set_answer(one) for one in sets.ended],
                "confusion": None if figures is None else [row.counts for row in figures.classes],
            }
        )


class ScansView(AdminView):
    """Scans for the set that is being brought."""

    parser_classes = [MultiPartParser]

    @extend_schema(
        tags=["Admins"],
        request=files_form(),
        responses={
            200: BroughtAnswer,
            **person_refusals(
                {
                    400: "bad_request class_unknown",
                    409: "validation_state",
                    413: "body_too_large",
                    422: f"{UNREADABLE} scan_without_class validation_full",
                    507: "hub_disk_full",
                }
            ),
        },
    )
    def post(self, request: Request) -> Response:
        """Bring labelled scans: they stay on the hub, sealed, and the set begins with the first.

        422, with the first file's code, where none could be taken.
        """
        federation = federation_of_the_page()
        label = incoming.label_of(federation.classes, str(request.POST.get("class_name", "")))
        found, added = validation.add(self.user, federation, sent(request), label=label)
        left_out = told(added)
        return Response(
            {"set": set_answer(validations.row(found) if found else None), "taken": len(added.scans), **left_out}
        )


class SetView(AdminView):
    """One set."""

    @extend_schema(
        tags=["Admins"], responses={204: None, **person_refusals({404: "not_found", 409: "validation_state"})}
    )
    def delete(self, request: Request, set_id: UUID) -> HttpResponse:  # noqa: ARG002 - DRF's signature
        """Delete a set with its scans, also the one in use."""
        validation.delete(self.found(set_id), actor=self.user.actor)
        return Response(status=204)


class UseView(AdminView):
    """Put a set to use."""

    @extend_schema(
        tags=["Admins"],
        request=None,
        responses={
            200: SetAnswer,
            **person_refusals({400: "scans_few", 404: "not_found", 409: "validation_state"}),
        },
    )
    def post(self, request: Request, set_id: UUID) -> Response:  # noqa: ARG002 - DRF's signature
        """Have a worker prepare a set; then it takes the place of the one before."""
        found = self.found(set_id)
        enqueue(validation.use(found, actor=self.user.actor))
        return Response(set_answer(validations.row(found)))
