"""The process that reads one uploaded model: started by apart.py, confined before it looks at the first byte.

Standard input is the file. Standard output is one byte that says whether it has left the network and the files (1 or
0), then `R` and the head as safetensors with the base's digest, or `E` and the code of a ModelFileError.
"""

import codecs
import os
import sys

from hospintel_core import confine

READ, REFUSED = b"R", b"E"
BASE = "base"


def main(architecture_name: str) -> None:
    """Read standard input as a model of an architecture and answer on standard output."""
    confine.limit()
    apart = confine.leave_network()
    # Not before: numpy may start threads, and with them a process cannot leave its namespace.
    from hospintel_core import architectures, uploaded, weights  # noqa: PLC0415
    from hospintel_core.errors import ModelFileError  # noqa: PLC0415

    codecs.lookup("cp437")  # of zip archives; it would be loaded on first use, when nothing can be opened any more
    architecture = architectures.get(architecture_name)
    apart = confine.leave_files() and apart
    confine.shut()
    _say(b"1" if apart else b"0")
    try:
        model = uploaded.read(sys.stdin.buffer, architecture)
        answer = READ + weights.dumps(model.head, {BASE: model.base_digest})
    except ModelFileError as error:
        answer = REFUSED + error.code.encode()
    except MemoryError:
        answer = REFUSED + b"model_too_costly"
    _say(answer)


def _say(data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(1, rest) :]
