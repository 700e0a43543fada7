"""What signing out means here, by oneself or by an administrator. The accounts app knows nothing of leases."""

from typing import Any

from django.contrib.auth.signals import user_logged_out

from apps.accounts.models import User
from apps.accounts.pipeline.leaving import put_out
from apps.finetune.pipeline.lease import release


def connect() -> None:
    """Release a person's lease when they sign out, or when somebody else puts them out."""
    user_logged_out.connect(_signed_out, dispatch_uid="finetune.release")
    put_out.connect(_put_out, dispatch_uid="finetune.put_out")


def _signed_out(*, user: object, **_: Any) -> None:
    if isinstance(user, User):
        release(user, by="logout")


def _put_out(*, user: User, actor: str, by: str, **_: Any) -> None:
    release(user, by=by, actor=actor)
