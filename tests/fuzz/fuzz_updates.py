"""What an agent sends: sealed updates, the payload in them, the report in that; and JSON with one reading."""

import numpy as np
from fuzz_parsers import Parser, text_of
from sealed import open_it, resign, seal

from hospintel_core import codecs, envelope, screening, strict_json, weights
from hospintel_core.errors import CodecError, EnvelopeError, ReportError, WeightsError
from hospintel_core.report import Report
from hospintel_core.weights import Schema, TensorSpec

# Small: what is read is the form, which is the same for large ones.
HEAD = Schema((TensorSpec("dense/bias", "F32", (2,)), TensorSpec("dense/kernel", "F32", (3, 2))))
CODEC = codecs.get("float32")
CLASSES, MOST = 4, 1000
REPORT = Report(((3, 0, 0, 1), (0, 4, 0, 0), (0, 0, 5, 0), (1, 0, 0, 6)), loss_micro=7_000_000, train_ms=1200)
INSIDE = (WeightsError, CodecError, ReportError)


def payload() -> bytes:
    delta = {spec.name: np.full(spec.shape, 0.25, np.float32) for spec in HEAD.tensors}
    return weights.dumps(CODEC.encode(delta), {"report": REPORT.to_json()})


def read_payload(data: bytes) -> None:
    """As the hub's inspection: the arrays, whether they are plausible, and the report."""
    arrays, metadata = weights.loads(data, CODEC.wire_schema(HEAD))
    delta = CODEC.decode(arrays, HEAD)
    assert not [found for found in screening.screen(delta, HEAD) if found.code == "not_finite"]
    read_report(metadata.get("report", "").encode())


def read_header(data: bytes) -> None:
    """Any header before as many bytes as the arrays have: its length is right, whatever it says."""
    read_payload(len(data).to_bytes(8, "little") + data + bytes(CODEC.wire_schema(HEAD).nbytes))


def header() -> bytes:
    whole = payload()
    return whole[8 : 8 + int.from_bytes(whole[:8], "little")]


def read_envelope(data: bytes) -> None:
    """As it came, and with a signature that holds: what lies behind it is looked at only then."""
    for sealed in (data, resign(data)):
        try:
            open_it(sealed)
        except EnvelopeError:
            continue


def read_sealed_payload(data: bytes) -> None:
    """Any payload that an agent seals is opened, and read as it is."""
    _, opened = open_it(seal(data))
    assert opened == data
    read_payload(opened)


def read_report(data: bytes) -> None:
    found = Report.from_json(data.decode("utf-8", "replace"), CLASSES, MOST)
    assert 0 <= found.n <= MOST
    assert Report.from_json(found.to_json(), CLASSES, MOST) == found


def read_json(data: bytes) -> None:
    value = strict_json.parse(text_of(data))
    assert strict_json.parse(strict_json.canonical(value)) == value


FAMILY = {
    "header": Parser(envelope.parse_header, (EnvelopeError,), lambda: [seal(b"")[:192]]),
    "envelope": Parser(read_envelope, (EnvelopeError,), lambda: [seal(b""), seal(payload()), seal(b"a" * 20_000)]),
    "payload": Parser(read_payload, INSIDE, lambda: [payload()]),
    "header of a payload": Parser(read_header, INSIDE, lambda: [header()]),
    "sealed payload": Parser(read_sealed_payload, INSIDE, lambda: [payload()]),
    "report": Parser(read_report, INSIDE, lambda: [REPORT.to_json().encode()]),
    "strict JSON": Parser(
        read_json, (ValueError,), lambda: [b'{"a":[1,2.5,null,true,"\\u00e9\\ud83d\\ude00"]}', b"[1e5]"]
    ),
}
