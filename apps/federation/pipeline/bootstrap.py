"""What exists from the first start: the hub's keys, the federation `brain-mri`, and its version 1."""

import uuid

from apps.audit.api import record, transaction
from apps.federation.models import Federation
from apps.federation.pipeline import keys, storage
from apps.federation.pipeline.publish import first_version
from hospintel_core import architectures, weights
from hospintel_core.plan import Plan

DEFAULT_SLUG = "brain-mri"
SYSTEM = "system:bootstrap"
HEAD_SEED = 0


def ensure_federation(slug: str = DEFAULT_SLUG, **fields: object) -> Federation:
    """Return the federation, created with these fields where it does not exist, with a version 1 to start from."""
    federation = Federation.objects.filter(pk=slug).first()
    if federation is None:
        defaults: dict[str, object] = {"name": "Brain MRI", "plan": Plan().to_dict(), **fields}
        with transaction():
            federation = Federation.objects.create(slug=slug, uuid=uuid.uuid4(), **defaults)
            record("federation.create", actor=SYSTEM, obj=f"federation:{slug}", architecture=federation.architecture)
    if federation.current is None:
        architecture = architectures.get(federation.architecture)
        head = architectures.initial_head(architecture, HEAD_SEED)
        first_version(federation, storage.store_head(weights.dumps(head)), actor=SYSTEM)
        federation.refresh_from_db()
    return federation


def bootstrap() -> None:
    """Create what is missing. Safe to call at every start."""
    keys.ensure_keys()
    ensure_federation()
