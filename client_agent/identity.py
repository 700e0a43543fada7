"""Following the hub's identity: a new one is believed where the pinned one leads to it by signatures."""

import logging

from client_agent.agent import Agent
from hospintel_core import identity, signing
from hospintel_core.plan import SignedManifest

log = logging.getLogger(__name__)


def follow(agent: Agent, signed: SignedManifest) -> None:
    """Pin the identity that a manifest names, if it is a successor of the pinned one; else leave all as it is.

    A manifest of a key that is none is refused later, like any that the pinned identity did not sign.

    Raises:
        HubUnreachableError, HubRefusedError, UntrustedError: the hub did not give its chain of identities.
        StorageError: config.json cannot be written; the old identity stays pinned.
    """
    pinned = agent.config.identity
    if signed.kid == signing.key_id(pinned):
        return
    found = identity.follow(pinned, agent.hub.identities(), signed.kid)
    if found is None:
        return
    agent.config = agent.config.repinned(agent.home, found)
    log.warning(
        "the hub has a new identity, signed by the one that was pinned here: %s follows %s",
        signing.fingerprint(found),
        signing.fingerprint(pinned),
    )
