"""The delta as it is: 4 bytes a value, lossless."""

from typing import Final

import numpy as np

from hospintel_core.errors import CodecError
from hospintel_core.weights import Arrays, Schema

_DTYPE: Final = np.dtype("<f4")


class Float32:
    """Identity on float32 arrays."""

    name: Final = "float32"

    def wire_schema(self, head: Schema) -> Schema:
        """Return ``head``: what is sent has the head's own schema."""
        return head

    def encode(self, delta: Arrays) -> Arrays:
        """Return ``delta``; CodecError ``codec_dtype`` unless every array is float32."""
        for name, array in delta.items():
            if array.dtype != _DTYPE:
                raise CodecError("codec_dtype", f"Array {name} is {array.dtype}, not float32.")
        return dict(delta)

    def decode(self, wire: Arrays, head: Schema) -> Arrays:
        """Return ``wire`` if it follows ``head``; CodecError ``codec_names``, ``codec_dtype`` or ``codec_shape``."""
        if wire.keys() != {spec.name for spec in head.tensors}:
            raise CodecError("codec_names", "The arrays are not the ones of the head.")
        delta = self.encode(wire)
        for spec in head.tensors:
            if delta[spec.name].shape != spec.shape:
                raise CodecError("codec_shape", f"Array {spec.name} has not the shape {spec.shape}.")
        return delta
