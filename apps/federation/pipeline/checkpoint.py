"""Sign where the audit stands, with the hub's identity. Worker, tick and commands only: it reads the private key."""

import logging

from apps.audit import checkpoints
from apps.federation.models import HubKey
from apps.federation.pipeline import keys
from hospintel_core import signing

logger = logging.getLogger(__name__)


def sign() -> checkpoints.Note | None:
    """Make a checkpoint of the audit, unless one stands there already. Returns the newest one.

    A chain that does not hold is not signed: the log says so each time, and `verify_audit` says where.
    """
    key, kid = keys.identity_private(), keys.active_key(HubKey.Kind.IDENTITY).kid
    try:
        return checkpoints.make((kid, lambda body: signing.sign(signing.DOMAIN_CHECKPOINT, body, key)))
    except checkpoints.ChainBroken as broken:
        logger.critical("The audit does not hold and is not signed: %s. Run manage.py verify_audit.", broken)
        return None
