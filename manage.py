#!/usr/bin/env python
"""Django's command line for the hub: `manage.py up` starts everything."""

import os
import sys

from hospintel_site.lifetime import end_with_supervisor


def main() -> None:
    """Run one management command."""
    os.umask(0o077)  # the database, and all else that is made here, is for this account alone
    end_with_supervisor()
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "hospintel_site.settings")
    from django.core.management import execute_from_command_line  # noqa: PLC0415 - after the settings are named

    execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()
