"""How a delta travels. Adding a codec = one module, one test, one line in the registry below."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, Protocol

from hospintel_core.codecs.float32 import Float32
from hospintel_core.errors import CodecError
from hospintel_core.weights import Arrays, Schema


class Codec(Protocol):
    """Turns a delta into the arrays that are sent, and back. Neither way changes its input."""

    @property
    def name(self) -> str:
        """The name that manifests carry."""

    def wire_schema(self, head: Schema) -> Schema:
        """Return the schema of what is sent for a head of schema ``head``."""

    def encode(self, delta: Arrays) -> Arrays:
        """Return the arrays to send; CodecError for a delta that this codec cannot carry."""

    def decode(self, wire: Arrays, head: Schema) -> Arrays:
        """Return the float32 delta of schema ``head``; CodecError for arrays that are not of the wire schema."""


_CODECS: Final[Mapping[str, Codec]] = MappingProxyType({codec.name: codec for codec in (Float32(),)})


def get(name: str) -> Codec:
    """Return the codec called ``name``; CodecError ``unknown_codec``."""
    codec = _CODECS.get(name)
    if codec is None:
        raise CodecError("unknown_codec", f"There is no codec {name!r}.", f"Known codecs: {', '.join(names())}.")
    return codec


def names() -> tuple[str, ...]:
    """All codec names, sorted."""
    return tuple(sorted(_CODECS))
