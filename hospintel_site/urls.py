"""The hub's addresses. `/` and everything under /api/v1/ belong to the federation app."""

from importlib.util import find_spec

from django.contrib import admin
from django.urls import include, path

from hospintel_site.health import healthz

urlpatterns = [
    path("healthz", healthz, name="healthz"),
    path("admin/", admin.site.urls),
    path("", include("apps.accounts.urls")),
]
if find_spec("apps.federation.urls"):
    urlpatterns.append(path("", include("apps.federation.urls")))
