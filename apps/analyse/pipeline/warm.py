"""A worker loads the model before anybody asks for a reading, in a thread beside its tasks."""

import logging
import threading
import time

from django.db import DatabaseError, connections

from apps.analyse.pipeline.read import current_reader
from apps.federation.pipeline.step import Refusal

logger = logging.getLogger(__name__)

LOOK_SECONDS = 5.0


def warm_beside() -> threading.Thread:
    """Start a thread of this process that waits until the model is written for the page, loads it once, and ends."""
    thread = threading.Thread(target=_warm, daemon=True, name="warm-reader")
    thread.start()
    return thread


def _warm() -> None:
    try:
        while not _is_loaded():
            time.sleep(LOOK_SECONDS)
    except Exception:
        # The first reading tries again, and tells who asked for it.
        logger.exception("The model for readings could not be loaded ahead")
    finally:
        connections.close_all()


def _is_loaded() -> bool:
    try:
        current_reader()
    except (DatabaseError, Refusal):
        # Nothing is written yet, or the database is being migrated or restored.
        return False
    return True
