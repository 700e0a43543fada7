"""Refused calls (`<METHOD> <name of the address>` in the audit) and changes in Django admin, as people say them."""

from collections.abc import Mapping

# Name of the address -> what the caller was about to do.
DOING: Mapping[str, str] = {
    "account-password": "changing the password",
    "account-session": "keeping the session",
    "agent-check": "testing a connection",
    "agent-revoke": "revoking an agent",
    "analyse": "analysing a scan",
    "analyse-answer": "having a scan read on the hub",
    "analyse-ask": "having a scan read on the hub",
    "analyse-file": "downloading the model for the page",
    "analyse-model": "downloading the model for the page",
    "audit": "looking at the audit",
    "audit-checkpoints": "fetching the checkpoints",
    "audit-entry": "looking at an entry of the audit",
    "audit-export": "exporting the audit",
    "audit-verify": "having the audit verified",
    "checkpoint": "showing a checkpoint",
    "code-withdraw": "withdrawing a code",
    "decide-version": "deciding about a version",
    "enrol": "enrolling an agent",
    "events": "reading the events",
    "federation-model": "downloading the model",
    "head": "downloading a version",
    "hospital": "looking at a hospital",
    "hospital-add": "adding a hospital",
    "hospital-code": "issuing a code",
    "hospital-workbench": "switching a hospital's workbench",
    "job": "looking at a job",
    "job-begin": "beginning a fine-tuning job",
    "job-cancel": "cancelling a job",
    "job-page": "bringing scans to a job",
    "job-propose": "proposing what a job trained",
    "job-scan": "changing a scan of a job",
    "job-scans": "bringing scans to a job",
    "job-train": "sending a job to the worker",
    "job-verb": "working on a job",
    "jobs": "beginning a fine-tuning job",
    "lease": "the fine-tuning lease",
    "lease-release": "ending the fine-tuning lease",
    "lease-take": "taking the fine-tuning lease",
    "login": "signing in",
    "logout": "signing out",
    "metrics": "reading the metrics",
    "model": "downloading the model",
    "model-upload": "looking at an uploaded model",
    "people": "looking at the people",
    "person": "looking at a person",
    "person-act": "changing a person",
    "person-add": "adding a person",
    "person-change": "changing a person",
    "person-link": "making a link for a password",
    "round-report": "reporting on a version",
    "round-update": "sending an update",
    "run-start": "starting a run",
    "run-steer": "steering a run",
    "runs": "starting a run",
    "settings": "looking at the settings",
    "step-retry": "having a step tried again",
    "settings-change": "changing the settings",
    "steer-run": "steering a run",
    "scan-preview": "looking at a scan of a job",
    "scan-verb": "changing a scan of a job",
    "task": "asking for work",
    "update": "sending an update",
    "upload": "uploading a model",
    "upload-model": "uploading a model",
    "v1-upload-model": "uploading a model",
    "v1-logout": "signing out",
    "v1-model": "downloading the model",
    "v1-update": "sending an update",
    "versions": "listing the versions",
    "versions-compare": "comparing two versions",
    "v1-version-file": "downloading a version",
    "version-file": "downloading a version",
    "version-decide": "deciding about a version",
    "workbench": "looking at the workbench",
    "validation": "bringing a validation set",
    "validation-scans": "bringing a validation set",
    "validation-set": "deleting a validation set",
    "validation-sets": "looking at the validation set",
    "validation-use": "putting a validation set to use",
    "validation-verb": "changing the validation set",
}
_DONE = {"add": "added", "change": "changed", "delete": "deleted"}
_WHY = {
    "permission_denied": "the role does not allow it",
    "confirm_needed": "first it must be confirmed who asks",
    "agent_revoked": "the agent is revoked",
    "token_invalid": "nobody has this token",
    "token_missing": "there was no token",
    "not_authenticated": "nobody was signed in",
}


def told_call(action: str, code: str) -> str:
    """Return what happened to a refused call; its action and code where there are no better words."""
    method, _, address = action.partition(" ")
    where, _, name = address.rpartition(":")
    if where == "admin":
        doing = "looking at the records" if method == "GET" else "changing the records"
    else:
        doing = DOING.get(name, f"a call ({action})")
    return f"was refused {doing}: {_WHY.get(code, code)}"


def told_admin(action: str) -> str:
    """Return what was done in Django admin (`admin.<what>.<verb>`)."""
    what, _, verb = action.removeprefix("admin.").partition(".")
    return f"{_DONE.get(verb, verb)} {what.replace('_', ' ')} in Django admin"
