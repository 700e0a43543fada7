"""What pages of other apps tell about the workbench."""

from django import template

from apps.accounts.models import User
from apps.federation.models import Federation
from apps.finetune.models import Job, Lease
from apps.finetune.pipeline.lease import current
from apps.finetune.states import JOB_ACTIVE

register = template.Library()


@register.simple_tag
def lease_of(federation: Federation) -> Lease | None:
    """Return the lease of a federation that holds now."""
    return current(federation)


@register.simple_tag
def lost_by_leaving(user: User) -> str:
    """Return what somebody is asked before they sign out; empty where nothing is lost."""
    if not Job.objects.filter(owner=user, state__in=JOB_ACTIVE).exists():
        return ""
    return "Signing out gives the lease back. Your job is cancelled, unless it has ended, and its scans are deleted."
