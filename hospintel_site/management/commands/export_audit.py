"""manage.py export_audit."""

from argparse import ArgumentParser
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError

from apps.audit import checkpoints, export
from apps.audit.api import record, transaction
from apps.federation.pipeline import checkpoint, keys
from hospintel_site.management.operator import OperatorCommand, acting


class Command(OperatorCommand):
    """Writes the audit in the form that the standalone verifier reads."""

    help = "Write the whole audit, or only its signed checkpoints, as lines of JSON (docs/audit.md)."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", help="a new file, or - for stdout")
        parser.add_argument("--checkpoints", action="store_true", help="only the checkpoints: keep these elsewhere")
        parser.add_argument("--after", type=int, default=0, metavar="SEQ", help="with --checkpoints: those beyond SEQ")

    def handle(self, *_args: Any, **options: Any) -> None:
        whole = not options["checkpoints"]
        if whole:
            actor = acting(self)
            with transaction():
                record("audit.export", actor=actor, visibility="admin")
        # So that the export's own end is signed.
        if checkpoint.sign() is None:
            self.stderr.write("The audit does not hold and could not be signed: run verify_audit.")
        lines = self._whole() if whole else (note.to_line() + "\n" for note in checkpoints.notes(options["after"]))
        if options["file"] == "-":
            for line in lines:
                self.stdout.write(line, ending="")
            return
        try:
            with Path(options["file"]).open("x", encoding="utf-8") as target:
                target.writelines(lines)
        except OSError as error:
            raise CommandError(f"{options['file']}: {error.strerror}.") from error

    def _whole(self) -> Iterator[str]:
        return export.lines(link.to_wire() for link in keys.identity_chain())
