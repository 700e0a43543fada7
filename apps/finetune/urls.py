"""The addresses of the workbench."""

from django.urls import path

from apps.finetune.api import lease, uploads
from apps.finetune.views import uploads as upload_pages

V1 = "api/v1/"
app_name = "finetune"
urlpatterns = [
    path("models/upload/", upload_pages.upload, name="upload"),
    path("upload_model", uploads.UploadModelView.as_view(), name="upload-model"),
    path(V1 + "upload_model", uploads.UploadModelView.as_view(), name="v1-upload-model"),
    path(V1 + "uploads/<uuid:upload_id>", uploads.UploadView.as_view(), name="model-upload"),
    path(V1 + "lease", lease.LeaseView.as_view(), name="lease"),
]
