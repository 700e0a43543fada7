"""The addresses of the federation: the portal at `/`, the agents' API, and the original calls at the root."""

from django.urls import path
from rest_framework.views import APIView

from apps.federation.api import (
    agents,
    audit,
    compare,
    events,
    models,
    reports,
    runs,
    status,
    task,
    updates,
    version_file,
    version_list,
    versions,
    witness,
)
from apps.federation.api import schema as _schema  # noqa: F401 - what is in it registers itself
from apps.federation.api import validation as validation_calls
from apps.federation.views import audit as audit_pages
from apps.federation.views import dashboard, hospitals, rounds, settings
from apps.federation.views import models as model_pages
from apps.federation.views import validation as validation_pages
from apps.federation.views import versions as version_pages

V1 = "api/v1/"


def _at_both(address: str, name: str, view: object) -> list[object]:
    """Route one of the original calls at the root and under /api/v1/: the same code."""
    return [path(address, view, name=name), path(V1 + address, view, name=f"v1-{name}")]  # type: ignore[call-overload]


def _view(cls: type[APIView]) -> object:
    return cls.as_view()


urlpatterns = [
    path("", dashboard.index, name="index"),
    path("rounds/", rounds.rounds, name="rounds"),
    path("rounds/<uuid:round_id>/", rounds.round_page, name="round"),
    path("runs/start", rounds.start_run, name="run-start"),
    path("runs/<uuid:run_id>/<slug:verb>", rounds.steer_run, name="run-steer"),
    path("steps/<uuid:attempt_id>/retry", rounds.retry_step, name="step-retry"),
    path("models/", model_pages.models, name="models"),
    path("models/lineage/", version_pages.lineage_page, name="lineage"),
    path("models/compare/", version_pages.compare_page, name="compare"),
    path("models/<uuid:version_id>/", version_pages.version_page, name="version"),
    path("models/<uuid:version_id>/<slug:verb>", model_pages.decide_version, name="version-decide"),
    path("settings/", settings.settings_page, name="settings"),
    path("settings/change", settings.change_settings, name="settings-change"),
    path("validation/", validation_pages.validation_page, name="validation"),
    path("validation/<uuid:set_id>/<slug:verb>", validation_pages.validation_verb, name="validation-verb"),
    path("audit/", audit_pages.entries, name="audit"),
    path("audit/<int:seq>/", audit_pages.entry, name="audit-entry"),
    path("audit/verify", audit_pages.verify_now, name="audit-verify"),
    path("audit/export", audit_pages.export_all, name="audit-export"),
    path("hospitals/", hospitals.hospitals, name="hospitals"),
    path("hospitals/add", hospitals.add_hospital, name="hospital-add"),
    path("hospitals/<slug:slug>/", hospitals.hospital, name="hospital"),
    path("hospitals/<slug:slug>/code", hospitals.issue_code, name="hospital-code"),
    path("hospitals/<slug:slug>/workbench", hospitals.switch_workbench, name="hospital-workbench"),
    path("codes/<uuid:code_id>/withdraw", hospitals.withdraw_code, name="code-withdraw"),
    path("agents/<uuid:agent_id>/revoke", hospitals.revoke_agent, name="agent-revoke"),
    path("agents/<uuid:agent_id>/check", hospitals.check_agent, name="agent-check"),
    *_at_both("model", "model", models.global_model),
    *_at_both("models/<uuid:version_id>/model.h5", "version-file", version_file.version_file),
    *_at_both("public_key", "public-key", _view(status.PublicKeyView)),
    *_at_both("update", "update", _view(updates.UpdateView)),
    *_at_both("status", "status", _view(status.StatusView)),
    path(V1 + "identity", status.IdentityView.as_view(), name="identity"),
    path(V1 + "agents/enrol", agents.EnrolView.as_view(), name="enrol"),
    path(V1 + "federations/<slug:slug>/task", task.task, name="task"),
    path(V1 + "federations/<slug:slug>/checkpoint", witness.WitnessView.as_view(), name="checkpoint"),
    path(V1 + "federations/<slug:slug>/status", status.StatusView.as_view(), name="federation-status"),
    path(V1 + "federations/<slug:slug>/model", models.global_model, name="federation-model"),
    path(V1 + "federations/<slug:slug>/versions", version_list.VersionsView.as_view(), name="versions"),
    path(
        V1 + "federations/<slug:slug>/versions/<uuid:a>/compare/<uuid:b>",
        compare.CompareView.as_view(),
        name="versions-compare",
    ),
    path(V1 + "federations/<slug:slug>/runs", runs.RunsView.as_view(), name="runs"),
    path(V1 + "federations/<slug:slug>/runs/<uuid:run_id>/<slug:verb>", runs.SteerView.as_view(), name="steer-run"),
    path(V1 + "models/<slug:digest>", models.head, name="head"),
    path(V1 + "models/<uuid:version_id>/<slug:verb>", versions.DecideView.as_view(), name="decide-version"),
    path(V1 + "rounds/<uuid:round_id>/update", updates.UpdatePartView.as_view(), name="round-update"),
    path(V1 + "rounds/<uuid:round_id>/report", reports.ReportView.as_view(), name="round-report"),
    path(V1 + "audit/checkpoints", audit.CheckpointsView.as_view(), name="audit-checkpoints"),
    path(V1 + "validation", validation_calls.ValidationView.as_view(), name="validation-sets"),
    path(V1 + "validation/scans", validation_calls.ScansView.as_view(), name="validation-scans"),
    path(V1 + "validation/<uuid:set_id>", validation_calls.SetView.as_view(), name="validation-set"),
    path(V1 + "validation/<uuid:set_id>/use", validation_calls.UseView.as_view(), name="validation-use"),
    path(V1 + "events", events.EventsView.as_view(), name="events"),
]
