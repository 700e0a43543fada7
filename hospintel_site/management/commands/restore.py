"""manage.py restore."""

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.conf import settings
from django.contrib.sessions.models import Session
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError

from apps.audit.api import record, transaction, verify
from apps.federation.models import ModelVersion, Round
from apps.federation.pipeline import storage
from apps.federation.pipeline.finish import fail_round
from hospintel_site.backup import BackupError, restore_backup
from hospintel_site.lock import FolderInUse, hold
from hospintel_site.management.operator import acting


class Command(BaseCommand):
    """Restores a backup; the hub must not be running."""

    help = (
        "Put a backup in place. Rounds that were open end as FAILED(restored): what was uploaded for them is gone. With"
        " PostgreSQL without FILE, once pg_restore has put the database in place."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", type=Path, nargs="?")
        parser.add_argument("--force", action="store_true", help="move aside what is in HOSPINTEL_VAR")

    def handle(self, *_args: Any, **options: Any) -> None:
        try:
            with hold(settings.VAR):
                self._restore(options["file"], force=options["force"])
        except FolderInUse as error:
            raise CommandError(f"{error} Stop it first.") from error
        except (BackupError, OSError) as error:
            raise CommandError(str(error)) from error

    def _restore(self, source: Path | None, *, force: bool) -> None:
        aside = restore_backup(source, force=force)
        call_command("migrate", interactive=False, verbosity=0)
        # In a backup of ours there are none.
        Session.objects.all().delete()
        held, actor = verify(), acting(self)
        rounds = list(Round.objects.active())
        for round_ in rounds:
            # What follows is for the next `up`: its tick finds it.
            fail_round(round_, "restored", actor=actor)
        with transaction():
            record("backup.restore", actor=actor, visibility="admin", rounds=len(rounds), audit_held=held.ok)
        if aside is not None:
            self.stdout.write(f"What was there is in {aside}.")
        self.stdout.write(
            f"Restored. {len(rounds)} open rounds ended as FAILED(restored); everybody must sign in again."
        )
        self.stdout.write(
            f"Keys are not in a backup: put your copy of them into {settings.KEYS} before the hub starts."
        )
        self.stdout.write(
            "What happened after the backup is unmade: agents revoked since are active again, codes used since may be "
            "used again, and updates received since are not known. Look at the agents now, and revoke them again."
        )
        if missing := [str(version) for version in ModelVersion.objects.all() if not storage.find_head(version.digest)]:
            self.stdout.write(f"The storage has no head of {', '.join(missing)}: get them from its own backup.")
        if not held.ok:
            raise CommandError(f"The restored audit does not hold at entry {held.bad_seq}: {held.reason}.")
