"""Where sessions are kept: Django's table, each until the time that the session itself knows (SESSION_ENGINE)."""

from datetime import UTC, datetime
from typing import Any

from django.contrib.sessions.backends.db import SessionStore as DatabaseStore

from apps.accounts.pipeline.sessions import ends_at


class SessionStore(DatabaseStore):
    """A session that ends after a while without activity, and at the latest after its longest time."""

    def get_expiry_date(self, **_: Any) -> datetime:
        """Return when the session ends."""
        return datetime.fromtimestamp(ends_at(self), UTC)
