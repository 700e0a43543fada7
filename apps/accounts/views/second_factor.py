"""The own second factor: set up, recovery codes, turned off. Whoever must set one up gets no further."""

from typing import cast

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST

from apps.accounts.forms import CodeForm
from apps.accounts.models import User
from apps.accounts.pipeline import AccountError, second_factor
from apps.accounts.roles import require, require_person

# Where a session keeps the secret, sealed, until the first code shows that the app has it.
SECRET = "second_factor"  # noqa: S105 - a name


@never_cache
@require_http_methods(["GET", "POST"])
@require_person
def page(request: HttpRequest) -> HttpResponseBase:
    """Show the second factor, or set one up with a code that the app makes of the secret shown."""
    user = cast("User", request.user)
    if user.has_second_factor:
        return render(request, "accounts/second_factor.html", {"left": user.recovery_codes.count()})
    if SECRET not in request.session:
        request.session[SECRET] = second_factor.new_secret(user)
    sealed: str = request.session[SECRET]
    form = CodeForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        try:
            codes = second_factor.enrol(user, sealed, form.cleaned_data["code"])
        except AccountError as error:
            form.add_error("code", error.detail)
        else:
            del request.session[SECRET]
            return _codes_page(request, codes, "Your second factor is set up")
    typed, image = second_factor.shown(sealed, user)
    return render(request, "accounts/second_factor_setup.html", {"form": form, "typed": typed, "image": image})


@require_POST
@require("see_own_account")
def renew_codes(request: HttpRequest) -> HttpResponseBase:
    """Show ten new recovery codes, this once."""
    try:
        codes = second_factor.renew_recovery_codes(cast("User", request.user))
    except AccountError as error:
        messages.error(request, error.detail)
        return redirect("accounts:second-factor")
    return _codes_page(request, codes, "Your new recovery codes")


@require_POST
@require("see_own_account")
def turn_off(request: HttpRequest) -> HttpResponseBase:
    """Turn the second factor off."""
    try:
        second_factor.turn_off(cast("User", request.user))
        messages.success(request, "Your second factor is turned off.")
    except AccountError as error:
        messages.error(request, error.detail)
    return redirect("accounts:second-factor")


def _codes_page(request: HttpRequest, codes: list[str], head: str) -> HttpResponse:
    return render(request, "accounts/recovery_codes.html", {"codes": codes, "head": head})
