"""`manage.py rotate_keys`: a new RSA key (and identity); the old one is kept to decrypt until it is destroyed."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import CommandError

from apps.federation.management.common import FederationCommand
from apps.federation.models import HubKey, Round
from apps.federation.pipeline import bootstrap, keys
from hospintel_site.management.operator import acting


class Command(FederationCommand):
    """Rotate the hub's keys."""

    help = "Make a new RSA key (and with --identity a new identity, signed by the old); --destroy erases retired ones."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--identity", action="store_true", help="rotate the identity too")
        parser.add_argument("--destroy", action="store_true", help="erase retired keys that no open round needs")

    def handle(self, *args: Any, **options: Any) -> None:  # noqa: ARG002 - Django's signature
        bootstrap.bootstrap()
        if options["destroy"]:
            self._destroy()
            return
        actor = acting(self)
        kinds = [HubKey.Kind.RSA, *([HubKey.Kind.IDENTITY] if options["identity"] else [])]
        for kind in kinds:
            key = keys.rotate(kind, actor=actor)
            self.stdout.write(f"{kind.label.lower()}: {key.kid} is active")
        self.stderr.write("Rounds that are open keep their RSA key. Back up the keys folder by itself.")

    def _destroy(self) -> None:
        if Round.objects.active().exists():
            raise CommandError("A round is open and may need a retired key. Wait for its end.")
        actor = acting(self)
        for kind in (HubKey.Kind.RSA, HubKey.Kind.IDENTITY):
            count = keys.destroy_retired(kind, actor=actor)
            self.stdout.write(f"{kind.label.lower()}: {count} retired keys erased")
