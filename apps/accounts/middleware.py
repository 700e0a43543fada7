"""At each request of a browser: is its session over, and why; does the request keep it alive."""

from django.conf import settings
from django.contrib.auth import SESSION_KEY
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils.deprecation import MiddlewareMixin

from apps.accounts.models import SessionEnd
from apps.accounts.pipeline import sessions

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


def told_reason(request: HttpRequest) -> str:
    """Return the sentence about why the last session of this browser ended; "" if there is nothing to say."""
    why = request.META.get("hospintel.session_end") or request.COOKIES.get(settings.SESSION_END_COOKIE_NAME, "")
    return str(SessionEnd(why).label) if why in SessionEnd.values else ""
