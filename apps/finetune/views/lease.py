"""Take the lease, and end it, by a form."""

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.views.decorators.http import require_POST

from apps.accounts.roles import require
from apps.federation.pipeline.step import Next
from apps.federation.views.page import act, federation_of_the_page, person
from apps.finetune.pipeline import lease as pipeline


@require_POST
@require("fine_tune")
def take(request: HttpRequest) -> HttpResponseBase:
    """Take the lease, or let one's own last on."""

    def go() -> list[Next]:
        pipeline.take(person(request), federation_of_the_page())
        return []

    return act(request, "You have the fine-tuning lease.", go, back=_back(request))


@require_POST
@require("fine_tune")
def release(request: HttpRequest) -> HttpResponseBase:
    """Give the lease back; an administrator may end anybody's."""

    def go() -> list[Next]:
        pipeline.give_back(person(request), federation_of_the_page())
        return []

    return act(request, "The fine-tuning lease is free again.", go, back=_back(request))


def _back(request: HttpRequest) -> str:
    """Return the page that the form stood on."""
    return "finetune:workbench" if request.POST.get("from") == "workbench" else "finetune:upload"
