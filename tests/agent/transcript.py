"""Transcripts of the command line: commands with what they print, played by real processes.

A line that begins with `$` is a command, `?` its exit code (0 where none is given), `!` a line of stderr, `@` something
that is arranged before it; everything else is a line of stdout. `<...>` stands for any text and a line `...` for any
number of lines; how many spaces there are does not matter.
"""

import re
import shlex
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from agent_program import Command


@dataclass
class Entry:
    command: str
    code: int = 0
    out: list[str] = field(default_factory=list)
    err: list[str] = field(default_factory=list)
    before: list[str] = field(default_factory=list)


def _entries(text: str) -> Iterator[Entry]:
    entry, arranged = None, []
    for line in text.splitlines():
        if line.startswith("#"):
            continue
        if line.startswith("@ "):
            arranged.append(line[2:])
        elif line.startswith("$ "):
            if entry:
                yield entry
            entry, arranged = Entry(line[2:], before=arranged), []
        elif entry and line.startswith("? "):
            entry.code = int(line[2:])
        elif entry and line.startswith("! "):
            entry.err.append(line[2:])
        elif entry:
            entry.out.append(line)
    assert entry
    yield entry


def _matches(expected: list[str], actual: list[str]) -> bool:
    if not expected:
        return not actual
    if expected[0] == "...":
        return any(_matches(expected[1:], actual[skipped:]) for skipped in range(len(actual) + 1))
    pattern = ".*".join(re.escape(part) for part in re.split(r"<[^<>]*>", _plain(expected[0])))
    return bool(actual) and re.fullmatch(pattern, _plain(actual[0])) is not None and _matches(expected[1:], actual[1:])


def _plain(line: str) -> str:
    """Columns are as wide as what stands in them."""
    return re.sub(" +", " ", line.rstrip())


def play(path: Path, command: Command, names: Mapping[str, str], arrange: Callable[[list[str]], None]) -> None:
    """Run the commands of the transcript with `names` in place of $NAME, and compare all that they print."""
    text = path.read_text()
    # The longest first: $HUB is the beginning of $HUB_CA.
    for name in sorted(names, key=len, reverse=True):
        text = text.replace(f"${name}", names[name])
    for entry in _entries(text):
        for line in entry.before:
            arrange(line.split())
        program, *arguments = shlex.split(entry.command)
        assert program == "hospintel-agent"
        done = command.run(*arguments)
        shown = f"$ {entry.command}\n{done.stdout}\n---- stderr:\n{done.stderr}"
        assert done.returncode == entry.code, shown
        assert _matches(entry.out, done.stdout.rstrip("\n").split("\n") if done.stdout else []), shown
        assert _matches(entry.err, done.stderr.rstrip("\n").split("\n") if done.stderr else []), shown
