"""`manage.py versions list|publish|reject|rollback`: decide about a held version, or go back to an old one."""

import re
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import CommandError

from apps.federation.management.common import FederationCommand, add_federation, find_federation
from apps.federation.models import Federation, ModelVersion
from apps.federation.pipeline.review import publish_held, reject
from apps.federation.pipeline.rollback import rollback
from apps.federation.states import VersionState
from apps.federation.tasks import enqueue
from hospintel_site.management.operator import acting

# `version` itself is a word of Django's.
STATES = {"publish": VersionState.HELD, "reject": VersionState.HELD, "rollback": VersionState.PUBLISHED}


class Command(FederationCommand):
    """List, publish, reject and roll back versions."""

    help = "List versions; publish or reject one that the gate held; publish an old one again."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("verb", choices=["list", *STATES])
        parser.add_argument("version", nargs="?", help="its number, or the first characters of its digest")
        parser.add_argument("--reason", default="", help="kept with the version's verdict")
        add_federation(parser)

    def handle(self, *args: Any, **options: Any) -> None:  # noqa: ARG002 - Django's signature
        federation = find_federation(options["federation"])
        if options["verb"] == "list":
            for version in federation.versions.order_by("created_at"):
                mark = "*" if version.pk == federation.current_id else " "
                number = version.number or "-"
                self.stdout.write(f"{mark} {number:>4}  {version.digest[:12]}  {version.state:<9}  {version.verdict}")
            return
        if options["version"] is None:
            raise CommandError("Which version? manage.py versions list shows them.")
        version = _find(federation, options["version"], STATES[options["verb"]])
        self._decide(options["verb"], version, options["reason"])

    def _decide(self, verb: str, version: ModelVersion, reason: str) -> None:
        if verb == "rollback":
            again, following = rollback(version, actor=acting(self), reason=reason)
            enqueue(following)
            self.stdout.write(f"version {again.number} is version {version.number} again")
            return
        enqueue({"publish": publish_held, "reject": reject}[verb](version, actor=acting(self), reason=reason))
        self.stdout.write(f"{version.digest[:12]} is {version.state}" + (f" as {version}" if version.number else ""))
        self.stderr.write("A paused run goes on with manage.py run resume.")


def _find(federation: Federation, text: str, state: VersionState) -> ModelVersion:
    """Return the version of a number or digest; of several with one digest the newest that can be meant."""
    numbered = federation.versions.filter(number=int(text)).first() if re.fullmatch(r"[0-9]{1,9}", text) else None
    if numbered is not None:
        return numbered
    # A digest may have been published several times.
    found = list(federation.versions.filter(digest__startswith=text.lower()).order_by("-created_at"))
    if not found or len({version.digest for version in found}) > 1:
        raise CommandError(f"{len(found)} versions are called {text!r}. manage.py versions list shows them.")
    return next((version for version in found if version.state == state), found[0])
