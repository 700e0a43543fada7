"""The hub's addresses. `/` and everything under /api/v1/ belong to the federation app."""

from django.contrib import admin
from django.urls import include, path
from drf_spectacular.views import SpectacularJSONAPIView
from rest_framework.permissions import AllowAny

from hospintel_site import documentation
from hospintel_site.health import healthz, readyz
from hospintel_site.metrics import metrics

urlpatterns = [
    path("healthz", healthz, name="healthz"),
    path("readyz", readyz, name="readyz"),
    path("metrics", metrics, name="metrics"),
    path("admin/", admin.site.urls),
    path("api/schema", SpectacularJSONAPIView.as_view(permission_classes=[AllowAny]), name="schema"),
    path("docs", documentation.swagger, name="docs"),
    path("redoc", documentation.redoc, name="redoc"),
    path("", include("apps.accounts.urls")),
    path("", include("apps.federation.urls")),
    path("", include("apps.finetune.urls")),
    path("", include("apps.analyse.urls")),
]

handler400 = "hospintel_site.errors.bad_request"
handler403 = "hospintel_site.errors.permission_denied"
handler404 = "hospintel_site.errors.not_found"
handler500 = "hospintel_site.errors.server_error"
