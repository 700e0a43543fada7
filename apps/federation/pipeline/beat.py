"""The sign of life of a step that takes long."""

import logging
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

from django.db import DatabaseError, connection

logger = logging.getLogger(__name__)


class Beat:
    """Gives a sign of life every so many seconds, from a thread of its own, until its block ends.

    Args:
        name: of the step, for the log.
        seconds: from one sign to the next.
        give: writes the sign; False where no further one is wanted. A database that does not answer is asked again.
    """

    def __init__(self, name: str, seconds: float, give: Callable[[], bool]) -> None:
        self._name, self._seconds, self._give = name, seconds, give
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, name="beat", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._done.set()
        self._thread.join()

    def _run(self) -> None:
        try:
            while not self._done.wait(self._seconds):
                try:
                    if not self._give():
                        return
                except DatabaseError:
                    logger.exception("%s: the database does not answer", self._name)
        finally:
            connection.close()
