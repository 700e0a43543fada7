"""Models that are handed in, validation sets and verifications in which somebody dies."""

from collections.abc import Callable
from typing import Any

import ledger
import numpy as np
from jobs import Bench

from hospintel_core import architectures, h5, weights

PIXELS = architectures.get("pixels-head16")
POINTS = ("upload_model.kept", "upload_model.committed", "read_model.begun", "read_model.stored", "read_model.decided")
SET_POINTS = ("prepare.begun", "prepare.kept", "prepare.before_commit", "prepare.committed", "validate.before_commit")
VERIFY_POINTS = ("verify.before_commit",)


def hand_in(bench: Bench, point: str) -> dict[str, Any]:
    """A model is downloaded, changed and handed in; it waits for review, once."""

    def through() -> list[str]:
        hub = bench.ground.hub
        bench.call("POST", "/api/v1/lease", json={})
        path = hub.folder / "handed-in.h5"
        path.write_bytes(bench.call("GET", "/model").content)
        by = np.float32(0.01 * bench.number)
        head = {name: array + by for name, array in h5.read_head(path, PIXELS).items()}
        h5.write_model(path, PIXELS, [], head)
        # 409 says that it came although the answer did not.
        bench.call("POST", "/upload_model", 409, files={"file": ("global_model.h5", path.read_bytes())})
        bench.ground.until(lambda: not hub.ask(ledger.live_uploads))
        return hub.ask(ledger.upload_violations, weights.digest(weights.dumps(head)))

    return bench.with_kill(point, 0, through)


def bring_set(bench: Bench, point: str) -> dict[str, Any]:
    """A validation set is brought and used, and deleted again."""

    def through() -> list[str]:
        hub = bench.ground.hub
        found = hub.ask(ledger.use_validation_set, bench.number)
        bench.ground.until(lambda: hub.ask(ledger.set_is_measured, found))
        return hub.ask(ledger.set_violations, found)

    return bench.with_kill(point, 0, through)


def verify(bench: Bench, point: str) -> dict[str, Any]:
    """The audit is verified because somebody asked."""

    def through() -> list[str]:
        hub = bench.ground.hub
        hub.ask(ledger.ask_for_verification)

        def is_answered() -> bool:
            asked, answered = hub.ask(ledger.verifications)
            return answered >= asked

        told = bench.ground.until(is_answered)
        asked, answered = hub.ask(ledger.verifications)
        return [] if told and answered == asked else [f"{answered} answers to {asked} questions"]

    return bench.with_kill(point, 0, through)


KINDS: dict[str, Callable[[Bench, str], dict[str, Any]]] = {
    **dict.fromkeys(POINTS, hand_in),
    **dict.fromkeys(SET_POINTS, bring_set),
    **dict.fromkeys(VERIFY_POINTS, verify),
}
