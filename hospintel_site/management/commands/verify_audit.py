"""manage.py verify_audit."""

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError

from apps.audit import checkpoints
from apps.audit.api import VerifyResult
from apps.audit.models import AuditHead
from apps.federation.pipeline import keys
from hospintel_core.checkpoint import Note
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
        _require_entries(options["from_seq"], options["to_seq"])
        kept = [note for path in options["checkpoint"] for note in _kept(path)]
        chain, signed = checkpoints.verify_with(kept, keys.identities(), options["from_seq"], options["to_seq"])
        for result in sorted((chain, signed), key=_place):
            if not result.ok:
                raise CommandError(f"The audit does not hold at entry {result.bad_seq}: {result.reason}.")
        self.stdout.write(f"{chain.checked} entries hold. {signed.checked} checkpoints agree.")


def _require_entries(first: int | None, last: int | None) -> None:
    """Refuse a range in which there is nothing: that nothing holds would say nothing. Raises CommandError."""
    head = AuditHead.objects.filter(pk=1).first()
    if first is not None and last is not None and first > last:
        raise CommandError(f"There is nothing between {first} and {last}: --from comes before --to.")
    if head is None:
        return  # verify names it
    for asked in (first, last):
        if asked is not None and asked > head.seq:
            raise CommandError(f"There is no entry {asked}: the audit ends at entry {head.seq}. Nothing was checked.")


def _place(result: VerifyResult) -> int:
    return result.bad_seq or 0


def _kept(path: Path) -> list[Note]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        return [Note.from_line(line) for line in lines if line.strip()]
    except (OSError, ValueError) as error:
        raise CommandError(f"{path}: {error}") from error
