"""At each request of a browser: is its session over, and why; does it keep it alive; must it be proven anew."""

from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.contrib.auth import SESSION_KEY
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils.deprecation import MiddlewareMixin

from apps.accounts.confirm import asked_of_call, asked_of_page
from apps.accounts.models import User
from apps.accounts.pipeline import sessions
from apps.accounts.views.confirm import confirmed, refuse_unproven

# So long the sign-in page can say why a session ended, in seconds.
TOLD_FOR = 300


class BrowserSessions(MiddlewareMixin):
    """Notes activity, and leaves a cookie with the reason where a session that was presented is over."""

    def process_request(self, request: HttpRequest) -> None:
        """Look at the session; a request without its cookie, such as an agent's, costs nothing."""
        key = request.COOKIES.get(settings.SESSION_COOKIE_NAME)
        if not key:
            return
        # Django empties a session that is not proven any more: whose it was has to be read before.
        person = request.session.get(SESSION_KEY)
        if request.user.is_authenticated:
            if not is_background(request):
                sessions.note_activity(request.session)
        elif person is not None or request.session.session_key is None:
            request.META["hospintel.session_end"] = sessions.why_over(key, person)

    def process_view(
        self,
        request: HttpRequest,
        view: Callable[..., HttpResponseBase],  # noqa: ARG002 - Django's signature
        arguments: Any,  # noqa: ARG002 - as above
        named: Any,  # noqa: ARG002 - as above
    ) -> HttpResponseBase | None:
        """Ask again who it is, before what the table in `confirm.py` names."""
        if not (doing := asked_of_page(request) or asked_of_call(request)):
            return None
        user = request.user
        if not isinstance(user, User) or sessions.is_proven(request.session):
            return None
        return confirmed(request, user, doing) if asked_of_page(request) else refuse_unproven(request, user, doing)

    def process_response(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        """Leave the reason for the sign-in page, and take it away from who is signed in."""
        why = request.META.get("hospintel.session_end")
        if why:
            response.set_cookie(
                settings.SESSION_END_COOKIE_NAME,
                str(why.value),
                max_age=TOLD_FOR,
                secure=settings.SESSION_COOKIE_SECURE,
                httponly=True,
                samesite="Lax",
            )
        elif settings.SESSION_END_COOKIE_NAME in request.COOKIES and request.user.is_authenticated:
            response.delete_cookie(settings.SESSION_END_COOKIE_NAME, samesite="Lax")
        return response


def is_background(request: HttpRequest) -> bool:
    """Return whether a page asks by itself: that keeps nobody signed in."""
    return "X-Background" in request.headers or "X-Fragment" in request.headers
