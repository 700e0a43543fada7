"""What drf-spectacular cannot see by itself; imported with the addresses, which workers and ticks do without."""

from drf_spectacular.extensions import OpenApiAuthenticationExtension


class AgentTokenScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call] # its base registers itself so
    """An agent's bearer token."""

    target_class = "apps.federation.api.base.AgentAuthentication"
    name = "agentToken"

    def get_security_definition(self, auto_schema: object) -> dict[str, str]:  # noqa: ARG002 - its signature
        """Return the scheme as OpenAPI names it."""
        return {"type": "http", "scheme": "bearer"}


class PersonTokenScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call] # as above
    """A person's bearer token."""

    target_class = "apps.accounts.authentication.PersonTokenAuthentication"
    name = "personToken"

    def get_security_definition(self, auto_schema: object) -> dict[str, str]:  # noqa: ARG002 - its signature
        """Return the scheme as OpenAPI names it."""
        return {"type": "http", "scheme": "bearer"}
