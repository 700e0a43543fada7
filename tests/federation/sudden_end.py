"""A process that dies at its n-th durable step: a child of this one, which ends there without any cleaning up.

Durable steps are commits, single statements outside a transaction, and what fsync, rename and unlink do. Before each of
them the child may die, and after the last one; between two of them a death leaves the same behind.
"""

import os
import sys
import traceback
from collections.abc import Callable
from typing import Any

from django.db import connection, connections
from django.db.backends.base.base import BaseDatabaseWrapper

from apps.audit.api import Conflict
from apps.federation.pipeline.step import Refusal

DIED, FAULT = 137, 70
CHANGES = ("INSERT", "UPDATE", "DELETE")


class _Countdown:
    def __init__(self, steps: int) -> None:
        self._left = steps

    def step(self) -> None:
        if self._left == 0:
            os._exit(DIED)
        self._left -= 1

    def before(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*args: Any, **kwargs: Any) -> Any:
            self.step()
            return function(*args, **kwargs)

        return counted

    def statement(self, execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        if sql.startswith(CHANGES) and not connection.in_atomic_block:
            self.step()
        return execute(sql, params, many, context)


def _watch(steps: int) -> None:
    """Let this process, which is a child and does nothing else, die before its step of this number, from 0."""
    countdown = _Countdown(steps)
    for name in ("fsync", "rename", "replace", "unlink"):
        setattr(os, name, countdown.before(getattr(os, name)))
    BaseDatabaseWrapper._commit = countdown.before(BaseDatabaseWrapper._commit)  # type: ignore[method-assign]
    connection.execute_wrappers.append(countdown.statement)


def dies(doing: Callable[[], object], steps: int) -> bool:
    """Do something in a child that dies before its `steps`-th durable step, from 0. Returns whether it came so far.

    A refusal is an end like any other. Raises AssertionError where the child ended by another exception, which is on
    stderr.
    """
    connections.close_all()
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child == 0:
        _be_the_child(doing, steps)
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    assert code in {0, DIED}, f"the child ended with {code}"
    return code == DIED


def _be_the_child(doing: Callable[[], object], steps: int) -> None:
    code = FAULT
    try:
        _watch(steps)
        doing()
        code = 0
    except (Refusal, Conflict):
        code = 0
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
    finally:
        os._exit(code)
