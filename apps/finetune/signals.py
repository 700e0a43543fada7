"""What signing out means here. The accounts app knows nothing of leases: Django's own signal tells."""

from typing import Any

from django.contrib.auth.signals import user_logged_out

from apps.accounts.models import User
from apps.finetune.pipeline.lease import release


def connect() -> None:
    """Release a person's lease when they sign out."""
    user_logged_out.connect(_signed_out, dispatch_uid="finetune.release")


def _signed_out(*, user: object, **_: Any) -> None:
    if isinstance(user, User):
        release(user, by="logout")
