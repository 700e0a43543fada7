"""What pages of other apps tell about the workbench."""

from django import template

from apps.federation.models import Federation
from apps.finetune.models import Lease
from apps.finetune.pipeline.lease import current

register = template.Library()


@register.simple_tag
def lease_of(federation: Federation) -> Lease | None:
    """Return the lease of a federation that holds now."""
    return current(federation)
