"""manage.py verify_audit."""

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError

from apps.audit import checkpoints
from apps.audit.api import VerifyResult
from apps.federation.pipeline import keys
from hospintel_site.management.operator import OperatorCommand


class Command(OperatorCommand):
    """Checks the audit's chain and its signed checkpoints."""

    help = "Check that no audit entry was changed, removed or put in. Exit code 1 names the first that does not hold."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--from", dest="from_seq", type=int, help="first entry to check")
        parser.add_argument("--to", dest="to_seq", type=int, help="last entry to check")
        parser.add_argument(
            "--checkpoint",
            type=Path,
            action="append",
            default=[],
            metavar="FILE",
            help="checkpoints that were kept elsewhere (export_audit --checkpoints): they show what was cut off",
        )

    def handle(self, *_args: Any, **options: Any) -> None:
        kept = [note for path in options["checkpoint"] for note in _kept(path)]
        chain, signed = checkpoints.verify_with(kept, keys.identities(), options["from_seq"], options["to_seq"])
        for result in sorted((chain, signed), key=_place):
            if not result.ok:
                raise CommandError(f"The audit does not hold at entry {result.bad_seq}: {result.reason}.")
        self.stdout.write(f"{chain.checked} entries hold. {signed.checked} checkpoints agree.")


def _place(result: VerifyResult) -> int:
    return result.bad_seq or 0


def _kept(path: Path) -> list[checkpoints.Note]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        return [checkpoints.Note.from_line(line) for line in lines if line.strip()]
    except (OSError, ValueError) as error:
        raise CommandError(f"{path}: {error}") from error
