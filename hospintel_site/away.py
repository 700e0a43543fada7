"""What anybody is told while the hub's storage does not answer, whichever view needed it."""

import logging

from django.http import HttpRequest, HttpResponse
from django.utils.deprecation import MiddlewareMixin

from apps.federation.pipeline.objects import StorageAwayError
from hospintel_site.errors import STORAGE_AWAY, away

logger = logging.getLogger(__name__)


class StorageAway(MiddlewareMixin):
    """Answers 503 `storage_away` with Retry-After, and says in the log what is wrong."""

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponse | None:
        """Answer a view that raised StorageAwayError."""
        if not isinstance(exception, StorageAwayError):
            return None
        logger.error("%s", exception.strerror)
        return away(request, STORAGE_AWAY)
