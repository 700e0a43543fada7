"""`POST /login`, `POST /logout`, `GET /check_session`: a person's token, and with it the fine-tuning lease.

The tokens are the accounts app's; it knows nothing of leases, so the calls that speak of both stand here.
"""

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response

from apps.accounts.authentication import PEOPLE, PersonTokenAuthentication
from apps.accounts.models import ApiToken, User
from apps.accounts.pipeline import AccountError, Locked, tokens
from apps.accounts.roles import may
from apps.federation.api.base import HubView
from apps.federation.pipeline.step import Refusal
from apps.finetune.pipeline import lease
from hospintel_site.callers import client_address
from hospintel_site.openapi import refusals

# How the accounts app's refusals are answered; what is not named is 401.
STATUS = {"second_factor_needed": 403, "factor_unreadable": 409, "sign_in_anew": 409, "login_locked": 429}
LONGEST = 1000


class LoginRequest(serializers.Serializer[None]):
    """Who signs in."""

    username = serializers.CharField(max_length=LONGEST)
    password = serializers.CharField(max_length=LONGEST, trim_whitespace=False)
    otp = serializers.CharField(
        required=False,
        allow_blank=True,
        default="",
        max_length=40,
        help_text="A code of the app, or a recovery code, where the person has a second factor.",
    )


class LoginAnswer(serializers.Serializer[None]):
    """A person's token."""

    token = serializers.CharField(help_text="For `Authorization: Bearer`; shown this once.")
    message = serializers.CharField(help_text="Says whether the fine-tuning lease came with it.")


class LogoutAnswer(serializers.Serializer[None]):
    """What became of it."""

    message = serializers.CharField()


class SessionAnswer(serializers.Serializer[None]):
    """Whether somebody has the fine-tuning lease."""

    logged_in = serializers.BooleanField()
    user = serializers.CharField(allow_null=True, help_text="Who; told to signed-in callers only.")


class LoginView(HubView):
    """Signing in by a program."""

    # Whoever is signed in in a browser is not signed in anew by another site's form: that asks for the form's token.
    authentication_classes = PEOPLE
    permission_classes = [AllowAny]

    @extend_schema(
        tags=["Everyone"],
        request=LoginRequest,
        responses={
            200: LoginAnswer,
            **refusals(
                {
                    400: "bad_request",
                    401: "login_invalid otp_needed otp_invalid",
                    403: "second_factor_needed",
                    409: "factor_unreadable sign_in_anew",
                    429: "login_locked",
                }
            ),
        },
    )
    def post(self, request: Request) -> Response:
        """Sign in: a token for twelve hours, and the fine-tuning lease if it is free.

        Wrong passwords and codes lock a name out at their address, as on the sign-in page; `Retry-After` says for how
        long. A token is worth what the person may do; what a signed-in browser is asked again for, a token is not.
        """
        asked = LoginRequest(data=request.data)
        asked.is_valid(raise_exception=True)
        fields = asked.validated_data
        try:
            user, token = tokens.log_in(
                fields["username"], fields["password"], otp=fields["otp"], address=client_address(request)
            )
        except Locked as locked:
            body = {"code": locked.code, "detail": locked.detail}
            return Response(body, status=STATUS[locked.code], headers={"Retry-After": str(locked.retry_after)})
        except AccountError as error:
            # The pipeline has counted it.
            raise Refusal(error.code, error.detail, STATUS.get(error.code, 401), recorded=True) from error
        return Response({"token": token, "message": f"Signed in. {_with_lease(user)}"})


def _with_lease(user: User) -> str:
    """Take the lease for who may have it and if it is free; return what became of that."""
    if not may(user, "fine_tune"):
        return "Your role does not fine-tune."
    try:
        taken = lease.take(user)
    except Refusal as refusal:
        return refusal.detail
    return f"You have the fine-tuning lease until {taken.until:%H:%M} UTC, longer while you work."


class LogoutView(HubView):
    """Signing out by a program."""

    authentication_classes = [PersonTokenAuthentication]
    permission_classes = [AllowAny]

    @extend_schema(
        tags=["People"], request=None, responses={200: LogoutAnswer, **refusals({401: "token_missing token_invalid"})}
    )
    def post(self, request: Request) -> Response:
        """Sign out: the token is worth nothing any more, and the fine-tuning lease is given back."""
        token: Any = request.auth
        if not isinstance(token, ApiToken):
            raise Refusal("token_missing", "This call needs a person's token.", 401)
        lease.release(token.user, by="logout")
        tokens.revoke(token.user, token.pk)
        return Response({"message": "Signed out."})


class CheckSessionView(HubView):
    """Whether somebody fine-tunes now."""

    authentication_classes = PEOPLE
    permission_classes = [AllowAny]

    @extend_schema(tags=["Everyone"], responses={200: SessionAnswer, **refusals({401: "token_invalid"})})
    def get(self, request: Request) -> Response:
        """Answer whether somebody has the fine-tuning lease, and to signed-in callers who."""
        held = lease.current(lease.default_federation())
        knows = held is not None and may(request.user, "see_dashboard")
        return Response({"logged_in": held is not None, "user": held.holder.get_username() if held and knows else None})
