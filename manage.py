#!/usr/bin/env python
"""Django's command line for the hub: `manage.py up` starts everything."""

import os
import shlex
import sys
from importlib.util import find_spec

from hospintel_site.lifetime import end_with_supervisor

# One of each kind of what requirements/hub.txt brings.
NEEDED = ("django", "channels", "celery", "cryptography")


def main() -> None:
    """Run one management command."""
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        sys.exit(
            f"error: {sys.executable} does not have what the hub needs (no {missing[0]}).\n"
            f"hint: in the checkout: .venv/bin/python {shlex.join(sys.argv)} (make run makes .venv)"
        )
    os.umask(0o077)  # the database, and all else that is made here, is for this account alone
    end_with_supervisor()
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "hospintel_site.settings")
    from django.core.management import execute_from_command_line  # noqa: PLC0415 - after the settings are named

    execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()
