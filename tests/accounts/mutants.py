"""Mistakes that somebody could make in the rules of who may do what, one at a time, put into the running code."""

import ast
import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from types import CodeType, FunctionType, ModuleType
from typing import Any


class _Mutation(ast.NodeTransformer):
    """Makes the change with this number, in the order in which the code stands, and says what it was."""

    def __init__(self, number: int) -> None:
        self.left = number
        self.made = ""

    def _now(self, what: str, node: Any) -> bool:
        self.left -= 1
        if self.left == -1:
            self.made = f"line {node.lineno}: {what}"
        return self.left == -1

    def visit_If(self, node: ast.If) -> ast.AST:
        self.generic_visit(node)
        if self._now("the condition turned round", node):
            node.test = ast.UnaryOp(ast.Not(), node.test)
        return node

    def visit_Return(self, node: ast.Return) -> ast.AST:
        self.generic_visit(node)
        if not isinstance(node.value, ast.Constant) and self._now("nothing is returned", node):
            node.value = ast.Constant(None)
        if self._now("an empty set is returned", node):
            node.value = ast.parse("set()", mode="eval").body
        return node

    def visit_BoolOp(self, node: ast.BoolOp) -> ast.AST:
        self.generic_visit(node)
        for place in range(len(node.values)):
            if self._now(f"the part {ast.unparse(node.values[place])} is gone", node):
                del node.values[place]
                return node
        return node

    def visit_Constant(self, node: ast.Constant) -> ast.AST:
        if isinstance(node.value, str) and self._now(f"another text than {node.value!r}", node):
            return ast.copy_location(ast.Constant(f"other-{node.value}"), node)
        return node


def mutants_of(function: Any) -> Iterator[tuple[str, CodeType]]:
    """All mutants of a module's function: what was changed, and the code to run instead."""
    number = 0
    while True:
        mutation = _Mutation(number)
        found = _source(function)
        # Neither the annotations nor what the docstring says are rules.
        found.body = [*found.body[:1], *[mutation.visit(node) for node in found.body[1:]]]
        if not mutation.made:
            return
        yield f"{function.__name__}, {mutation.made}", _code(function, found)
        number += 1


@contextmanager
def noting(function: FunctionType, note: Callable[[FunctionType], None]) -> Iterator[None]:
    """Have each call of the function noted, whoever makes it."""
    found = _source(function)
    name = f"_note_{function.__name__}"
    found.body.insert(1, ast.parse(f"{name}()").body[0])
    function.__globals__[name] = partial(note, function)
    try:
        with running(function, _code(function, found)):
            yield
    finally:
        del function.__globals__[name]


def _source(function: FunctionType) -> ast.FunctionDef:
    module = inspect.getmodule(function)
    assert isinstance(module, ModuleType)
    tree = ast.parse(inspect.getsource(module))
    (found,) = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == function.__name__]
    return found


def _code(function: FunctionType, source: ast.FunctionDef) -> CodeType:
    space: dict[str, Any] = {}
    lines = ast.fix_missing_locations(ast.Module([ast.parse("from __future__ import annotations").body[0], source], []))
    exec(compile(lines, inspect.getfile(function), "exec"), {**function.__globals__}, space)
    code: CodeType = space[function.__name__].__code__
    return code


@contextmanager
def running(function: FunctionType, code: CodeType) -> Iterator[None]:
    """Let everybody who calls the function run other code, wherever they imported it from."""
    kept = function.__code__
    function.__code__ = code
    try:
        yield
    finally:
        function.__code__ = kept
