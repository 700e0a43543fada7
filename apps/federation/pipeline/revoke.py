"""Revoke an agent: its token and its key are refused from the next request on, and what is in flight does not count."""

from apps.audit.api import advance, transaction
from apps.federation.models import Agent, Round, Update
from apps.federation.pipeline.attend import REVOKED
from apps.federation.pipeline.finish import withdraw
from apps.federation.pipeline.step import Next
from apps.federation.states import AgentState, RoundState, UpdateState


def revoke(agent: Agent, *, actor: str) -> list[Next]:
    """Revoke an agent and refuse its updates to rounds that still collect.

    A round that has closed keeps what it accepted: its sum may be published in this moment.

    Raises:
        Conflict: it is revoked already.
    """
    with transaction():
        advance(agent, AgentState.REVOKED, actor=actor, objects=[agent.hospital])
    collecting = Round.objects.filter(state=RoundState.COLLECTING)
    pending = Update.objects.filter(
        agent=agent, state__in=[UpdateState.RECEIVED, UpdateState.ACCEPTED], round__in=collecting
    )
    for update in pending.select_related("agent__hospital"):
        withdraw(update, REVOKED, actor=actor)
    # A round may have waited for nobody but this agent.
    theirs = collecting.filter(run__federation__participations__hospital=agent.hospital_id)
    return [Next("close", pk) for pk in theirs.values_list("pk", flat=True)]
