"""What the worker finds in an update that opens: tensors, values, norms, and the agent's report."""

import json
import struct

import numpy as np
import pytest
from site_agent import SCHEMA, delta, payload, report

from apps.federation.models import Evaluation, Update
from hospintel_core import screening, weights
from hospintel_core.report import MAX_TRAIN_MS

KERNEL = "head_dense/kernel"
REPORT = {"report": report().to_json()}


@pytest.fixture
def round_(hub, north, south):
    return hub.open_round(north, south)


def changed(**arrays):
    return {**delta(), **arrays}


def with_value(value):
    arrays = delta()
    arrays[KERNEL][3, 4] = value
    return arrays


def raw(edit, data=None):
    """A safetensors file whose header was edited as text."""
    whole = payload()
    (length,) = struct.unpack_from("<Q", whole)
    header = edit(whole[8 : 8 + length].decode().rstrip())
    return struct.pack("<Q", len(header)) + header.encode() + (whole[8 + length :] if data is None else data)


def header_of(**entries):
    def edit(text):
        return json.dumps(json.loads(text) | entries)

    return edit


def without(name):
    return {key: value for key, value in delta().items() if key != name}


KERNEL_ENTRY = '"dtype":"F32","shape":[256,16]'
TENSORS = {
    "a missing tensor": (lambda: weights.dumps(without(KERNEL), REPORT), "weights_names"),
    "another name": (
        lambda: weights.dumps({**without(KERNEL), "head/kernel": delta()[KERNEL]}, REPORT),
        "weights_names",
    ),
    "one tensor too many": (lambda: weights.dumps(changed(extra=np.zeros(3, np.float32)), REPORT), "weights_names"),
    "another shape": (lambda: weights.dumps(changed(**{KERNEL: delta()[KERNEL].T}), REPORT), "weights_shape"),
    "a flat shape": (lambda: weights.dumps(changed(**{KERNEL: delta()[KERNEL].ravel()}), REPORT), "weights_shape"),
    "float16": (
        lambda: raw(lambda text: text.replace('"F32","shape":[256,16]', '"F16","shape":[256,16]')),
        "weights_dtype",
    ),
    "float64": (
        lambda: raw(lambda text: text.replace(KERNEL_ENTRY, '"dtype":"F64","shape":[256,16]')),
        "weights_dtype",
    ),
    "NaN": (lambda: payload(with_value(np.nan)), "weights_not_finite"),
    "infinity": (lambda: payload(with_value(np.inf)), "weights_not_finite"),
    "minus infinity": (lambda: payload(with_value(-np.inf)), "weights_not_finite"),
    "a value above 1000": (lambda: payload(with_value(1000.5)), "value_range"),
    "a value below -1000": (lambda: payload(with_value(-1001)), "value_range"),
    "the largest float": (lambda: payload(with_value(np.finfo(np.float32).max)), "value_range"),
    "the same tensor twice": (lambda: raw(lambda text: text[:-1] + ',"head_dense/bias":{}}'), "weights_duplicate"),
    "bytes behind the tensors": (lambda: payload() + b"\0" * 8, "weights_length"),
    "bytes missing": (lambda: payload()[:-4], "weights_length"),
    "a header of 2 ** 63 bytes": (lambda: struct.pack("<Q", 2**63) + payload()[8:], "weights_header"),
    "a header that is not JSON": (lambda: raw(lambda text: text[:-1]), "weights_header"),
    "a pickle": (lambda: b"\x80\x04\x95" + bytes(100), "weights_header"),
    "zeros": (lambda: bytes(1000), "weights_header"),
    "nothing": (lambda: b"", "weights_length"),
}


def assert_worker_refuses(hub, agent, round_, content, code):
    """The worker refuses it by name, to that hospital alone; the file is gone, and the agent may try again."""
    assert agent.put(round_.pk, agent.seal(agent.task(), content)).status_code == 202
    hub.work()
    status = agent.status(round_.pk)
    assert (status["state"], status["code"], status["attempts_left"]) == ("REFUSED", code, 5)
    assert status["detail"]
    event = hub.event(code=code)
    assert (event["action"], event["outcome"], event["visibility"]) == (
        "update.refused",
        "refused",
        agent.row.hospital.visibility,
    )
    assert event["object"] == f"update:{Update.objects.get(code=code).pk}"
    assert hub.files() == set()


@pytest.mark.parametrize("case", TENSORS)
def test_tensors_that_are_not_the_rounds_are_refused(hub, north, south, round_, case):
    make, code = TENSORS[case]
    assert_worker_refuses(hub, north, round_, make(), code)
    hub.finish_honestly(north, south)


def confusion(value):
    return {"confusion": [[value, 0, 0, 0], *[[0] * 4] * 3], "loss_micro": 0, "train_ms": 0}


REPORTS = {
    "no report": (None, "report_missing"),
    "not JSON": ("accuracy: great", "report_json"),
    "nothing": ("", "report_json"),
    "NaN": ('{"confusion":NaN,"loss_micro":0,"train_ms":0}', "report_json"),
    "the same key twice": ('{"confusion":[],"confusion":[],"loss_micro":0,"train_ms":0}', "report_json"),
    "very deep JSON": ("[" * 16_000, "report_json"),
    "very long JSON": (json.dumps(report().to_dict()) + " " * 20_000, "report_json"),
    "a list": ("[]", "report_shape"),
    "another key": (json.dumps(report().to_dict() | {"name": "Jane Doe"}), "report_shape"),
    "a key missing": (json.dumps({"confusion": [[0] * 4] * 4, "loss_micro": 0}), "report_shape"),
    "three classes": (json.dumps(confusion(1) | {"confusion": [[1] * 3] * 3}), "report_shape"),
    "uneven rows": (json.dumps(confusion(1) | {"confusion": [[1], [1] * 4, [1] * 4, [1] * 4]}), "report_shape"),
    "a fraction": (json.dumps(confusion(0.5)), "report_shape"),
    "a truth value": (json.dumps(confusion(True)), "report_shape"),
    "text": (json.dumps(confusion("1")), "report_shape"),
    "a negative count": (json.dumps(confusion(-1)), "report_range"),
    "more scans than enrolled": (json.dumps(confusion(1001)), "report_range"),
    "a number beyond 64 bits": (json.dumps(confusion(2**70)), "report_range"),
    "a loss without scans": (json.dumps(confusion(0) | {"loss_micro": 1}), "report_range"),
    "a negative loss": (json.dumps(confusion(1) | {"loss_micro": -1}), "report_range"),
    "a year of training": (json.dumps(confusion(1) | {"train_ms": 365 * 86_400_000}), "report_range"),
}


@pytest.mark.parametrize("case", REPORTS)
def test_a_hostile_report_is_refused(hub, north, south, round_, case):
    text, code = REPORTS[case]
    assert_worker_refuses(hub, north, round_, payload(metadata={} if text is None else {"report": text}), code)
    assert not Evaluation.objects.exists()
    hub.finish_honestly(north, south)


def test_a_report_that_is_no_text_is_refused(hub, north, south, round_):
    content = raw(header_of(__metadata__={"report": 5}))
    assert_worker_refuses(hub, north, round_, content, "weights_header")
    hub.finish_honestly(north, south)


def test_the_largest_numbers_a_report_may_carry_are_kept(hub, north, south, round_):
    largest = confusion(1000) | {"loss_micro": 1000 * 1000 * 1_000_000, "train_ms": MAX_TRAIN_MS}
    sealed = north.seal(north.task(), payload(metadata={"report": json.dumps(largest)}))
    assert north.put(round_.pk, sealed).status_code == 202
    hub.work()
    assert north.status(round_.pk)["state"] == "ACCEPTED"
    kept = Evaluation.objects.get()
    assert (kept.n, kept.correct, kept.loss_micro, kept.version_id) == (1000, 1000, 10**12, round_.base_id)
    hub.finish_honestly(south)


def test_an_agent_without_validation_scans_is_accepted_and_measures_nothing(hub, north, south, round_):
    north.take_part(measured=report(0, 0))
    hub.work()
    assert north.status(round_.pk)["state"] == "ACCEPTED"
    assert not Evaluation.objects.exists()
    hub.finish_honestly(south)


def test_a_delta_of_zeros_is_accepted(hub, north, south, round_):
    zeros = {spec.name: np.zeros(spec.shape, np.float32) for spec in SCHEMA.tensors}
    assert north.put(round_.pk, north.seal(north.task(), payload(zeros))).status_code == 202
    hub.work()
    assert Update.objects.get().norm == 0.0
    hub.finish_honestly(south)


def scaled_to(norm):
    arrays = delta(5)
    factor = norm / screening.l2_norm(arrays)
    return payload({name: (array * factor).astype(np.float32) for name, array in arrays.items()})


def test_a_norm_of_more_than_a_hundred_times_the_median_is_refused(hub, north, south):
    hub.open_round(north, south, rounds=3)
    hub.finish_honestly(north, south)
    hub.finish_honestly(north, south)
    norms = sorted(Update.objects.values_list("norm", flat=True))
    median = (norms[1] + norms[2]) / 2
    round_ = hub.current_round()
    assert_worker_refuses(hub, north, round_, scaled_to(101 * median), "norm_range")
    assert north.put(round_.pk, north.seal(north.task(), scaled_to(99 * median))).status_code == 202
    hub.work()
    assert north.status(round_.pk)["state"] == "ACCEPTED"
    hub.finish_honestly(south)


def test_norms_are_not_judged_before_there_are_three(hub, north, south):
    round_ = hub.open_round(north, south)
    north.take_part()
    assert south.put(round_.pk, south.seal(south.task(), scaled_to(500))).status_code == 202
    hub.work()
    round_.refresh_from_db()
    assert round_.state == "PUBLISHED"


def test_an_update_whose_ciphertext_rots_on_the_hubs_disk_is_refused(hub, north, south, round_):
    north.take_part()
    (path,) = hub.paths()
    sealed = path.read_bytes()
    path.write_bytes(sealed[:-1] + bytes([sealed[-1] ^ 1]))
    hub.work()
    assert north.status(round_.pk)["code"] == "update_refused"
    assert hub.event(code="ciphertext_damaged")["action"] == "update.refused"
    hub.finish_honestly(north, south)
