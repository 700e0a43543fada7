"""The addresses of the workbench."""

from django.urls import path

from apps.finetune.api import lease

V1 = "api/v1/"
app_name = "finetune"
urlpatterns = [
    path(V1 + "lease", lease.LeaseView.as_view(), name="lease"),
]
