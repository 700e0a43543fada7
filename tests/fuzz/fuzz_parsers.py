"""What a family of parsers is: each reads bytes from outside, and may only raise the errors that it documents.

An input's first byte says which parser of the family reads the rest. Fuzzing and tests take the same way in.
"""

import atexit
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

# Each family, and whose branches guide it; to watch all of the hub would take longer than to start it.
FAMILIES = {
    "updates": ("hospintel_core",),
    "models": ("hospintel_core",),
    "scans": ("hospintel_core",),
    "answers": ("hospintel_core", "client_agent"),
    "requests": (
        "hospintel_core",
        "hospintel_site",
        "apps.federation.api",
        "apps.finetune.api",
        "apps.federation.live",
    ),
    "audits": ("hospintel_core", "apps.audit.verify", "apps.audit.chain", "tools"),
}


@dataclass(frozen=True)
class Parser:
    """`read` raises nothing but `refusals`; `seeds` makes samples that it takes, or refuses late."""

    read: Callable[[bytes], object]
    refusals: tuple[type[Exception], ...]
    seeds: Callable[[], list[bytes]]


Family = Mapping[str, Parser]


def take(family: Family, data: bytes) -> None:
    """Have an input read. Raises what no parser may."""
    if not data:
        return
    parser = list(family.values())[data[0] % len(family)]
    try:
        parser.read(data[1:])
    except parser.refusals:
        return


def corpus(family: Family) -> list[bytes]:
    """The samples of all parsers of a family, each with its first byte."""
    return [bytes([number]) + seed for number, parser in enumerate(family.values()) for seed in parser.seeds()]


def own_folder() -> Path:
    """A folder for what has to be a file to be read."""
    made = Path(tempfile.mkdtemp(prefix="hospintel-fuzz-"))
    atexit.register(shutil.rmtree, made, ignore_errors=True)
    return made


def text_of(data: bytes) -> str:
    """Bytes as a text: half surrogates too, which JSON can hold."""
    return data.decode("utf-8", "surrogatepass") if _is_text(data) else data.decode("latin-1")


def _is_text(data: bytes) -> bool:
    try:
        data.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return False
    return True
