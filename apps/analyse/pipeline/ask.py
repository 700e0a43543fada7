"""A doctor has the hub read a scan: the web process takes it sealed and puts it down sealed."""

import time
from datetime import timedelta
from uuid import UUID

from django.utils import timezone

from apps.accounts.models import User
from apps.analyse.models import Reading
from apps.analyse.pipeline.sealed import OVERHEAD
from apps.audit.api import record, transaction
from apps.federation.models import HubKey
from apps.federation.pipeline import storage
from apps.federation.pipeline.step import Refusal
from apps.federation.states import KeyState

MOST_BYTES = 32 * 1024 * 1024
MOST_WAITING = 3
# A reading that is not answered by then never will be; what was answered has been fetched.
PATIENCE_SECONDS = 60
KEPT_SECONDS = 600
PREFIX = "readings/"


def sealed_name(reading_id: UUID) -> str:
    """Return the name among the uploads under which a sealed scan lies until a worker takes it."""
    return f"{PREFIX}{reading_id}.sealed"


def ask(user: User, data: bytes, *, kid: str, address: str) -> Reading:
    """Keep a sealed scan for a worker, and note in the audit who sent one.

    Args:
        user: who asks.
        data: the sealed scan (`sealed.py`).
        kid: for which of the hub's RSA keys it was sealed.
        address: from where.

    Raises:
        Refusal: `scan_sealed_wrong` (422), `image_too_large` (413), `key_unknown` or `readings_waiting` (409),
            `hub_disk_full` (507).
    """
    if len(data) < OVERHEAD:
        raise Refusal("scan_sealed_wrong", "What arrived is not a scan that was sealed for this hub.", 422)
    if len(data) > MOST_BYTES + OVERHEAD:
        raise Refusal("image_too_large", f"The hub reads scans of at most {MOST_BYTES >> 20} MiB.", 413)
    if not HubKey.objects.filter(kid=kid, kind=HubKey.Kind.RSA).exclude(state=KeyState.DESTROYED).exists():
        raise Refusal("key_unknown", "The hub's key has changed. Load the page again.", 409)
    since = timezone.now() - timedelta(seconds=PATIENCE_SECONDS)
    if Reading.objects.filter(user=user, answer=None, created_at__gte=since).count() >= MOST_WAITING:
        raise Refusal("readings_waiting", f"{MOST_WAITING} scans of yours wait already.", 409)
    reading = Reading(user=user, kid=kid)
    try:
        storage.uploads().put(sealed_name(reading.pk), data)
    except OSError as error:
        raise storage.disk_refusal(error) from error
    with transaction():
        reading.save(force_insert=True)
        record("reading.ask", actor=user.actor, obj=reading, visibility="admin", address=address, size=len(data))
    return reading


def tidy() -> None:
    """Forget the readings that are over, and sealed scans that nobody will take."""
    Reading.objects.filter(created_at__lt=timezone.now() - timedelta(seconds=KEPT_SECONDS)).delete()
    for scan in storage.uploads().list(PREFIX, time.time() - KEPT_SECONDS):
        storage.uploads().delete(scan.name)
