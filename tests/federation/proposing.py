"""Propose versions as a person's job would."""

import numpy as np

from apps.federation.pipeline import storage
from apps.federation.pipeline.propose import propose
from hospintel_core import architectures, weights

SCHEMA = architectures.get("pixels-head16").head_schema


def changed_head(hub, by=0.001):
    """The current head with every value moved a little, stored."""
    hub.federation.refresh_from_db()
    head = storage.read_head(hub.federation.current.digest, SCHEMA)
    return storage.store_head(weights.dumps({name: array + np.float32(by) for name, array in head.items()}))


def proposed(hub, author, **fields):
    digest = fields.pop("digest", None) or changed_head(hub, fields.pop("by", 0.001))
    known = {"source": "FINE_TUNE", "parent": hub.federation.current, "author": author, **fields}
    return propose(hub.federation, digest=digest, **known)[0]
