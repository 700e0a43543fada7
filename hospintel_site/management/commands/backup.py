"""manage.py backup."""

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from apps.audit.api import record, transaction
from hospintel_site.backup import BackupError, create_backup
from hospintel_site.management.operator import acting


class Command(BaseCommand):
    """Backs the hub up; it may be running."""

    help = "Write database and models to one tar. Keys are not in it: back up HOSPINTEL_KEYS by itself, elsewhere."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", type=Path)

    def handle(self, *_args: Any, **options: Any) -> None:
        target: Path = options["file"].absolute()
        try:
            members = create_backup(target)
        except (BackupError, OSError) as error:
            raise CommandError(str(error)) from error
        size = sum(member.size for member in members.values())
        actor = acting(self)
        with transaction():
            record("backup.create", actor=actor, visibility="admin", files=len(members), bytes=size)
        self.stdout.write(f"{target}: {len(members)} files, {size / 1e6:.1f} MB.")
        self.stdout.write(
            f"The keys in {settings.KEYS} are NOT in it. Keep a copy of them elsewhere: without them agents"
        )
        self.stdout.write("no longer know this hub.")
        if settings.S3 is not None:
            self.stdout.write(
                f"The models are in the bucket {settings.S3.bucket} and NOT in it: back that up by itself, after this."
            )
