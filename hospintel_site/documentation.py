"""`/docs` and `/redoc`: the API's description as pages, from files that this hub serves itself.

Scripts come from files as everywhere, and nothing comes from elsewhere. Both programs write styles into the page: each
page has a policy of its own that allows just those.
"""

from csp.decorators import csp_update
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

# SHA-256 of what ReDoc 2.5.4 writes: an empty element that it fills by script, and the scrollbar's rules.
EMPTY_STYLE = "'sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU='"
SCROLLBAR_STYLE = "'sha256-QMIg+bpjm3JdElJ388KYke01izlUW0UoNOeKjpMxdgc='"


@require_safe
def swagger(request: HttpRequest) -> HttpResponse:
    """Swagger UI: each call with its fields, and a button that tries those that only read."""
    return render(request, "docs/swagger.html")


@csp_update({"style-src": [EMPTY_STYLE, SCROLLBAR_STYLE]})  # type: ignore[untyped-decorator] # django-csp is not followed
@require_safe
def redoc(request: HttpRequest) -> HttpResponse:
    """ReDoc: the same as one long page to read and to print."""
    return render(request, "docs/redoc.html")
