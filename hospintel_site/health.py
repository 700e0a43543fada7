"""Whether this hub is alive."""

import logging

from django.db import Error, connection
from django.http import HttpRequest, JsonResponse
from django.views.decorators.http import require_GET
from drf_spectacular.utils import extend_schema

from hospintel_site.openapi import Alive, in_schema, refusals

logger = logging.getLogger(__name__)


@in_schema(extend_schema(tags=["Everyone"], responses={200: Alive, **refusals({503: "database_away"})}))
@require_GET
def healthz(request: HttpRequest) -> JsonResponse:  # noqa: ARG001 - a view's signature
    """Say whether the hub is alive: whether its database answers."""
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except Error:
        logger.exception("The database does not answer")
        return JsonResponse({"code": "database_away", "detail": "The database does not answer."}, status=503)
    return JsonResponse({"status": "ok"})
