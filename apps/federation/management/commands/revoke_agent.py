"""`manage.py revoke_agent AGENT`: its token and key are refused from the next request on."""

from argparse import ArgumentParser
from typing import Any
from uuid import UUID

from django.core.management.base import CommandError

from apps.audit.api import Conflict
from apps.federation.management.common import FederationCommand
from apps.federation.models import Agent
from apps.federation.pipeline.revoke import revoke
from apps.federation.tasks import enqueue
from hospintel_site.management.operator import acting


class Command(FederationCommand):
    """Revoke an agent."""

    help = "Revoke an agent, by its id or the beginning of it; without one, list the agents."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("agent", nargs="?", help="id of the agent, or its first characters")

    def handle(self, *args: Any, **options: Any) -> None:  # noqa: ARG002 - Django's signature
        agents = list(Agent.objects.select_related("hospital").order_by("hospital__name"))
        if options["agent"] is None:
            for agent in agents:
                self.stdout.write(f"{agent.pk}  {agent.state:8}  {agent.hospital.name}")
            return
        found = [agent for agent in agents if self._is(agent.pk, options["agent"])]
        if len(found) != 1:
            raise CommandError(f"{len(found)} agents begin with {options['agent']!r}; without an argument I list them.")
        try:
            enqueue(revoke(found[0], actor=acting(self)))
        except Conflict as conflict:
            raise CommandError("This agent is revoked already.") from conflict
        self.stdout.write(f"{found[0].pk} of {found[0].hospital.name} is revoked")

    @staticmethod
    def _is(pk: UUID, beginning: str) -> bool:
        return str(pk).startswith(beginning.lower())
