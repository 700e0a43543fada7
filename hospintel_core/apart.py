"""Read an uploaded model in a process of its own: no environment, no network, no files, bounded memory and time.

Nothing that this process says reaches people but a code of a fixed list; the head that it hands over is checked again.
"""

import contextlib
import logging
import os
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from hospintel_core import confine, reader, weights
from hospintel_core.architectures import Architecture
from hospintel_core.backbone import VGG16_DIGEST
from hospintel_core.errors import ModelFileError, WeightsError
from hospintel_core.files import open_regular
from hospintel_core.weights import Arrays

logger = logging.getLogger(__name__)

WALL_SECONDS: Final = 32.0
_LAST_SECONDS: Final = 2.0
_ROOT = str(Path(__file__).resolve().parents[1])
# -I leaves out what the environment says about Python's path; the code is where this file is.
_START = "import sys; sys.path.insert(0, sys.argv[1]); from hospintel_core import reader; reader.main(sys.argv[2])"
# HDF5 looks for no filter plugins; numpy starts no threads.
_ENVIRONMENT = {"HDF5_PLUGIN_PRELOAD": "::", "OPENBLAS_NUM_THREADS": "1", "LANG": "C.UTF-8"}
_STDERR_KEPT = 2000
_BASES = {"vgg16": VGG16_DIGEST}

DETAILS: Final = {
    "model_unreadable": "The file is not a readable Keras model (.h5 or .keras).",
    "model_link": "The file holds links to other places where weights are expected.",
    "model_external": "The file keeps its weights outside of itself.",
    "model_missing": "The file does not hold the weights of this federation's model.",
    "model_dtype": "The weights are not 32-bit floating point numbers.",
    "model_shape": "The weights do not have the shapes of this federation's model.",
    "model_filter": "The weights are compressed or stored in chunks. Save the model as Keras does by itself.",
    "model_too_large": "The file, or what it unfolds into, is larger than a model of this federation can be.",
    "model_not_finite": "The weights hold values that are not finite numbers.",
    "model_archive": "The file is not a .keras model as Keras saves it.",
    "model_too_costly": "Reading the file takes more time or memory than a model needs.",
    "model_unsafe": "Reading the file led to something other than reading. It was stopped.",
    "base_changed": "The frozen base of the model was changed. Only the last layers may be trained.",
    "unsupported_model": "The file does not hold a model of this federation's architecture.",
}
_OTHER_MODEL = frozenset({"model_missing", "model_shape"})


@dataclass(frozen=True)
class Answer:
    """What came of reading a file apart: a head as safetensors, or the code of a ModelFileError.

    ``isolated``: whether the process had left network and files behind, or only had its limits. ``seconds`` and
    ``peak_bytes`` are what reading took at most: Linux counts in what the caller had in memory when it forked.
    """

    isolated: bool
    code: str
    head: bytes
    seconds: float
    peak_bytes: int


def refusal(code: str) -> ModelFileError:
    """Return the error for a code, in words for whoever uploaded the file."""
    return ModelFileError(code, DETAILS[code])


def ask(path: Path, architecture: Architecture) -> Answer:
    """Have a confined process read an uploaded file, for at most half a minute. Says nothing yet of what it found.

    Raises:
        OSError: the file cannot be opened, or no process started.
        RuntimeError: the reader could not do its work, for a reason that is not in the file.
    """
    started = time.monotonic()
    with (
        open_regular(path) as file,
        tempfile.TemporaryDirectory(prefix="hospintel-read-") as empty,
        tempfile.TemporaryFile() as stderr,
    ):
        process = subprocess.Popen(  # noqa: S603 - our own program
            [sys.executable, "-I", "-c", _START, _ROOT, architecture.name],
            stdin=file,
            stdout=subprocess.PIPE,
            stderr=stderr,
            cwd=empty,
            env=_ENVIRONMENT,
            start_new_session=True,
        )
        try:
            most = 2 + architecture.head_schema.max_payload
            said, in_time = _listen(process, most, started + WALL_SECONDS)
        finally:
            peak = _end(process)
        stderr.seek(0)
        told = stderr.read(_STDERR_KEPT)
    if told:
        logger.warning("The reader of an uploaded model said %r", told)
    code, head = _outcome(said, process.returncode, most=most, in_time=in_time)
    return Answer(said.startswith(b"1"), code, head, time.monotonic() - started, peak)


def head_of(answer: Answer, architecture: Architecture) -> Arrays:
    """Return the head that was read, checked again: schema, finite, and grown on the base that everybody has.

    Raises:
        ModelFileError: `base_changed`, `unsupported_model` for another architecture, or what the reader found.
    """
    if answer.code:
        raise refusal("unsupported_model" if answer.code in _OTHER_MODEL else answer.code)
    try:
        head, about = weights.loads(answer.head, architecture.head_schema)
    except WeightsError as error:
        raise refusal("model_unsafe") from error
    if about.get(reader.BASE) != _BASES.get(architecture.base, about.get(reader.BASE)):
        raise refusal("base_changed")
    return head


def _listen(process: "subprocess.Popen[bytes]", most: int, until: float) -> tuple[bytes, bool]:
    """Return what the process says, one byte more than ``most`` at the longest, and whether it came to an end."""
    said = bytearray()
    stdout: BinaryIO = process.stdout  # type: ignore[assignment] # it is a pipe
    with selectors.DefaultSelector() as selector:
        selector.register(stdout, selectors.EVENT_READ)
        while len(said) <= most:
            left = until - time.monotonic()
            if left <= 0 or not selector.select(left):
                return bytes(said), False
            piece = os.read(stdout.fileno(), min(1 << 20, most + 1 - len(said)))
            if not piece:
                return bytes(said), True
            said += piece
    return bytes(said), True


def _end(process: "subprocess.Popen[bytes]") -> int:
    """Wait a moment for the process, then kill it and what it started. Returns its peak memory in bytes."""
    if process.stdout is not None:
        process.stdout.close()
    until = time.monotonic() + _LAST_SECONDS
    found, status, usage = os.wait4(process.pid, os.WNOHANG)
    while not found and time.monotonic() < until:
        time.sleep(0.01)
        found, status, usage = os.wait4(process.pid, os.WNOHANG)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    if not found:
        _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return usage.ru_maxrss * 1024


def _outcome(said: bytes, status: int, *, most: int, in_time: bool) -> tuple[str, bytes]:
    """Return a code and an empty head, or no code and the head."""
    kind, rest = said[1:2], said[2:]
    if status == confine.TRIPPED or len(said) > most:
        return "model_unsafe", b""
    if not in_time or status in {-signal.SIGXCPU, -signal.SIGKILL}:
        return "model_too_costly", b""
    if kind == reader.READ:
        return "", rest
    if kind == reader.REFUSED:
        code = rest.decode("ascii", "replace")
        return (code if code in DETAILS else "model_unsafe"), b""
    if status < 0 and said:
        # HDF5 is C code: a damaged file may crash it.
        return "model_unreadable", b""
    raise RuntimeError(f"The reader of uploaded models ended with {status}.")
