"""The process that decompresses one DICOM picture with GDCM, whose decoders damaged streams crash within seconds.

Started by dicom_codecs.py for each picture and confined before it looks at the first byte. Standard input is a line of
JSON (`syntax`, `rows`, `columns`, `allocated`, `precision`, `signed`) and the stream, standard output the samples.
"""

import json
import os
import resource
import sys

# GDCM brings a zlib of its own. If it is what loads the system's, that one calls into GDCM's, and the next PNG that
# anybody writes in this process ends in corrupted memory: the system's has to be there first, here and in the hub.
import zlib  # noqa: F401
from typing import Any, Final

from hospintel_core import confine

FAILED: Final = 3
# Python and GDCM take 47 MiB of it. A JPEG 2000 stream of 300 bytes can ask for gigabytes of empty precincts.
MEMORY_BYTES: Final = 344 * 1024 * 1024
_PIXELS: Final = (0x7FE0, 0x0010)


def main() -> None:
    """Decode standard input to standard output; exit code 3 where that cannot be done."""
    if sys.platform == "linux":  # Elsewhere the limits mean other things.
        confine.limit()
        confine.leave_network()
    import gdcm  # noqa: PLC0415

    for level in (gdcm.Trace.WarningOff, gdcm.Trace.ErrorOff, gdcm.Trace.DebugOff):
        level()
    if sys.platform == "linux":
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
        # No file can be opened any more, so that there is nothing to leave.
        confine.shut()
    try:
        asked = json.loads(sys.stdin.buffer.readline())
        samples = _decode(gdcm, asked, sys.stdin.buffer.read())
    except Exception:
        os._exit(FAILED)
    while samples:
        samples = samples[os.write(1, samples) :]
    # What GDCM has done to the memory must not matter any more.
    os._exit(0)


def _decode(gdcm: Any, asked: dict[str, Any], stream: bytes) -> memoryview:
    """As pydicom's decoder for GDCM does it; its import would take six times as long as this."""
    fragment = gdcm.Fragment()
    fragment.SetByteStringValue(stream)
    fragments = gdcm.SequenceOfFragments.New()
    fragments.AddFragment(fragment)
    element = gdcm.DataElement(gdcm.Tag(*_PIXELS))
    element.SetValue(fragments.__ref__())
    image = gdcm.Image()
    image.SetNumberOfDimensions(2)
    image.SetDimensions((asked["columns"], asked["rows"], 1))
    image.SetDataElement(element)
    grey = gdcm.PhotometricInterpretation.MONOCHROME2
    image.SetPhotometricInterpretation(gdcm.PhotometricInterpretation(grey))
    kind = gdcm.TransferSyntax.GetTSType(asked["syntax"])
    image.SetTransferSyntax(gdcm.TransferSyntax(kind))
    precision = asked["precision"]
    image.SetPixelFormat(gdcm.PixelFormat(1, asked["allocated"], precision, precision - 1, int(asked["signed"])))
    # The binding hands bytes over as text.
    return memoryview(image.GetBuffer().encode("utf-8", "surrogateescape"))
