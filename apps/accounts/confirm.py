"""What asks again who it is: one table. The middleware reads it, at each request that may change something.

Whoever finds a browser open does none of this with it: the password, or a code of the second factor, must have been
given in this session within the last minutes. Signing in counts. A program's token is apart: it is no open browser.
"""

from collections.abc import Mapping

from django.http import HttpRequest

from apps.accounts.pipeline.tokens import is_persons
from apps.accounts.roles import may

# The address' name, or name/verb, or (of calls) name/method -> what is about to be done, as the page says it.
PAGES: Mapping[str, str] = {
    "accounts:second-factor": "set up a second factor",
    "accounts:second-factor-codes": "make new recovery codes",
    "accounts:second-factor-off": "turn off your second factor",
    "accounts:person-add": "add a person",
    "accounts:person-change": "change a person's role or hospitals",
    "accounts:person-link": "make a link that sets a person's password",
    "accounts:person-act": "change a person's account",
    "agent-revoke": "revoke an agent",
    "hospital-code": "issue a code that lets an agent in",
    "hospital-workbench": "change whether a hospital's scans may come to the hub",
    "settings-change": "change the federation's settings",
    "audit-export": "take the whole audit along",
    "version-decide": "decide which model is in use",
    "run-steer/abort": "abort a run",
    "validation-verb": "change with which scans versions are measured",
    "finetune:lease-release": "end a lease, and with it a job and its scans",
    "finetune:job-verb/cancel": "cancel a job, which deletes its scans",
}
# Calls that a signed-in browser may make too.
CALLS: Mapping[str, str] = {
    "decide-version": "decide which model is in use",
    "steer-run/abort": "abort a run",
    "validation-set": "change with which scans versions are measured",
    "validation-use": "change with which scans versions are measured",
    "finetune:lease/delete": "end a lease, and with it a job and its scans",
    "finetune:job-cancel": "cancel a job, which deletes its scans",
}
# Asked of administrators alone: to everybody else these are open for what is their own.
OF_ADMINS = frozenset({"finetune:lease-release", "finetune:job-verb", "finetune:lease", "finetune:job-cancel"})
# Django admin's pages change things by any form but these.
ADMIN, ADMIN_LOOKS = "admin", frozenset({"login", "logout", "jsi18n", "autocomplete"})
SAFE = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})


def asked_of_page(request: HttpRequest) -> str:
    """Return what a form is about to do, if that asks again who it is; "" if it does not."""
    match = request.resolver_match
    if match is None or request.method in SAFE:
        return ""
    if match.namespace == ADMIN:
        return "" if match.url_name in ADMIN_LOOKS else "change something in the records"
    return _listed(PAGES, request)


def asked_of_call(request: HttpRequest) -> str:
    """Return what a call of a signed-in browser is about to do, if that asks again who it is; "" if it does not."""
    match = request.resolver_match
    # Such a header is never answered by the session beside it (authentication.py).
    by_token = is_persons(request.headers.get("Authorization", ""))
    return "" if match is None or request.method in SAFE or by_token else _listed(CALLS, request)


def _listed(table: Mapping[str, str], request: HttpRequest) -> str:
    match = request.resolver_match
    name = match.view_name if match else ""
    verb = match.kwargs.get("verb", str(request.method).lower()) if match else ""
    if name in OF_ADMINS and not may(request.user, "end_leases"):
        return ""
    return table.get(f"{name}/{verb}") or table.get(name, "")
