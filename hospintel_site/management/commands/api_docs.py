"""`manage.py api_docs`: docs/api.md from the OpenAPI document."""

from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandParser

from hospintel_site.api_text import written


class Command(BaseCommand):
    help = "Write docs/api.md from the OpenAPI document."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--to", type=Path, default=settings.BASE_DIR / "docs" / "api.md", help="the file to write")

    def handle(self, *_: Any, **options: Any) -> None:
        options["to"].write_text(written(), encoding="utf-8")
        self.stdout.write(f"wrote {options['to']}")
