"""A federation's settings, for administrators."""

from django.contrib import messages
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.shortcuts import redirect
from django.views.decorators.http import require_POST, require_safe

from apps.accounts.roles import require
from apps.federation.forms import SettingsForm
from apps.federation.pipeline.configure import configure
from apps.federation.pipeline.step import Refusal
from apps.federation.tasks import enqueue
from apps.federation.views.page import federation_of_the_page, person, show


@require_safe
@require("change_settings")
def settings_page(request: HttpRequest) -> HttpResponseBase:
    """Show the settings as they are."""
    return _page(request, SettingsForm(federation_of_the_page()))


@require_POST
@require("change_settings")
def change_settings(request: HttpRequest) -> HttpResponseBase:
    """Change what the form changed, or show it again with what is wrong with it."""
    federation = federation_of_the_page()
    form = SettingsForm(federation, request.POST)
    if not form.is_valid():
        return _page(request, form)
    changes = form.changes()
    try:
        enqueue(configure(federation, changes, actor=person(request).actor))
    except Refusal as refusal:
        form.add_error(None, refusal.detail)
        return _page(request, form)
    messages.success(request, "The settings are changed." if changes else "Nothing was changed.")
    return redirect("settings")


def _page(request: HttpRequest, form: SettingsForm) -> HttpResponseBase:
    return show(request, "settings", {"federation": federation_of_the_page(), "form": form})
