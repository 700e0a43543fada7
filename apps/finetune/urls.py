"""The addresses of the workbench."""

from django.urls import path

from apps.finetune.api import jobs, lease, sign_in, uploads
from apps.finetune.views import lease as lease_pages
from apps.finetune.views import uploads as upload_pages
from apps.finetune.views import workbench

V1 = "api/v1/"
app_name = "finetune"
urlpatterns = [
    path("lease/take", lease_pages.take, name="lease-take"),
    path("lease/release", lease_pages.release, name="lease-release"),
    path("workbench/", workbench.workbench, name="workbench"),
    path("workbench/begin", workbench.begin, name="job-begin"),
    path("workbench/<uuid:job_id>/", workbench.job_page, name="job-page"),
    path("workbench/<uuid:job_id>/<slug:verb>", workbench.job_verb, name="job-verb"),
    path("workbench/<uuid:job_id>/scans/<uuid:scan_id>.png", workbench.preview, name="scan-preview"),
    path("workbench/<uuid:job_id>/scans/<uuid:scan_id>/<slug:verb>", workbench.scan_verb, name="scan-verb"),
    path("models/upload/", upload_pages.upload, name="upload"),
    path("upload_model", uploads.UploadModelView.as_view(), name="upload-model"),
    path(V1 + "upload_model", uploads.UploadModelView.as_view(), name="v1-upload-model"),
    path(V1 + "uploads/<uuid:upload_id>", uploads.UploadView.as_view(), name="model-upload"),
    path("login", sign_in.LoginView.as_view(), name="login"),
    path(V1 + "login", sign_in.LoginView.as_view(), name="v1-login"),
    path("logout", sign_in.LogoutView.as_view(), name="logout"),
    path(V1 + "logout", sign_in.LogoutView.as_view(), name="v1-logout"),
    path("check_session", sign_in.CheckSessionView.as_view(), name="check-session"),
    path(V1 + "check_session", sign_in.CheckSessionView.as_view(), name="v1-check-session"),
    path(V1 + "lease", lease.LeaseView.as_view(), name="lease"),
    path(V1 + "jobs", jobs.JobsView.as_view(), name="jobs"),
    path(V1 + "jobs/<uuid:job_id>", jobs.JobView.as_view(), name="job"),
    path(V1 + "jobs/<uuid:job_id>/train", jobs.TrainView.as_view(), name="job-train"),
    path(V1 + "jobs/<uuid:job_id>/cancel", jobs.CancelView.as_view(), name="job-cancel"),
    path(V1 + "jobs/<uuid:job_id>/propose", jobs.ProposeView.as_view(), name="job-propose"),
    path(V1 + "jobs/<uuid:job_id>/scans", jobs.ScansView.as_view(), name="job-scans"),
    path(V1 + "jobs/<uuid:job_id>/scans/<uuid:scan_id>", jobs.ScanView.as_view(), name="job-scan"),
]
