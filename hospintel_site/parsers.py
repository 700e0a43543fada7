"""The bodies that the API reads. A module of its own: DRF reads its defaults while it defines its views."""

from typing import Any

from rest_framework.exceptions import ParseError
from rest_framework.parsers import JSONParser

from hospintel_core import strict_json


class StrictJSONParser(JSONParser):
    """JSON with one reading only; anything else, and what is nested too deeply to be read, is a bad request."""

    def parse(self, stream: Any, media_type: Any = None, parser_context: Any = None) -> Any:  # noqa: ARG002 - DRF's
        """Return the body's value. Raises ParseError(bad_request)."""
        try:
            return strict_json.parse(stream.read().decode("utf-8"))
        except ValueError as error:
            raise ParseError("The body is not JSON that can be read in one way only.", code="bad_request") from error
