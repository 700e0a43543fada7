"""What an operator types."""

from io import StringIO

from django.core.management import call_command


def typed(*words: str) -> tuple[str, str]:
    """What a command writes to stdout and to stderr."""
    out, err = StringIO(), StringIO()
    call_command(*words, stdout=out, stderr=err)
    return out.getvalue(), err.getvalue()
