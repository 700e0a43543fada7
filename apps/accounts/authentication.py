"""Who calls the API: a person by token, or by the session of their browser."""

from rest_framework.authentication import BaseAuthentication, SessionAuthentication
from rest_framework.exceptions import APIException
from rest_framework.request import Request

from apps.accounts.models import ApiToken, User
from apps.accounts.pipeline import tokens


class TokenInvalid(APIException):
    """A person's token that is wrong, over or ended: whoever brings one is not taken for somebody else."""

    status_code = 401
    default_code = "token_invalid"
    default_detail = "This token is not known here, or it is over."


class PersonTokenAuthentication(BaseAuthentication):
    """`Authorization: Bearer hip_...`, from `POST /login`; `request.auth` is the ApiToken."""

    def authenticate(self, request: Request) -> tuple[User, ApiToken] | None:
        """Return the person, or None where there is no person's token. Raises TokenInvalid."""
        header = request.headers.get("Authorization", "")
        if not tokens.is_persons(header):
            return None
        token = tokens.find(header)
        if token is None:
            raise TokenInvalid
        return token.user, token


# The token first: who brings one is that person, whatever cookies come with it.
PEOPLE: list[type[BaseAuthentication]] = [PersonTokenAuthentication, SessionAuthentication]
