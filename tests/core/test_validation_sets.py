"""What makes a model worse than another on the same scans, and features as a file."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hospintel_core import architectures
from hospintel_core.errors import TrainingError
from hospintel_core.report import Report
from hospintel_core.validation import Labelled, Loss, losses, set_digest

PIXELS = architectures.get("pixels-head16")


def report(*pairs):
    """A report of right answers and scans for each class; what is wrong is taken for the next class."""
    rows = []
    for label, (right, n) in enumerate(pairs):
        row = [0] * len(pairs)
        row[label] += right
        row[(label + 1) % len(pairs)] += n - right
        rows.append(tuple(row))
    return Report(tuple(rows), 0)


def test_equal_models_are_not_worse():
    one = report((9, 10), (8, 10), (10, 10), (7, 10))
    assert losses(one, one, 0.0) == []


def test_one_scan_less_is_no_news_however_few_there_are():
    before, now = report((10, 10), (10, 10)), report((9, 10), (10, 10))
    assert losses(before, now, 0.0) == []


def test_two_scans_less_of_a_class_are_worse_where_the_margin_is_smaller():
    before, now = report((10, 10), (10, 10)), report((8, 10), (10, 10))
    assert losses(before, now, 0.02) == [Loss(None, 18, 20, 20), Loss(0, 8, 10, 10)]
    # Overall 2 of 20 are no more than the margin of a tenth; in the class 2 of 10 are.
    assert losses(before, now, 0.1) == [Loss(0, 8, 10, 10)]
    assert losses(before, now, 0.2) == []


def test_a_class_that_got_worse_is_found_behind_a_total_that_got_better():
    before, now = report((50, 100), (95, 100)), report((80, 100), (90, 100))
    assert losses(before, now, 0.02) == [Loss(1, 90, 95, 100)]


def test_the_total_may_be_worse_where_no_class_is():
    before = report(*[(100, 100)] * 4)
    now = report(*[(98, 100)] * 4)
    assert losses(before, now, 0.02) == []
    assert losses(before, now, 0.0199) == [Loss(None, 392, 400, 400), *(Loss(k, 98, 100, 100) for k in range(4))]


def test_reports_of_other_scans_are_not_compared():
    with pytest.raises(ValueError, match="other scans"):
        losses(report((1, 2), (1, 2)), report((1, 2), (1, 3)), 0.1)


counts = st.lists(
    st.integers(1, 300).flatmap(lambda n: st.tuples(st.integers(0, n), st.integers(0, n), st.just(n))),
    min_size=2,
    max_size=5,
)


# How fast numbers are drawn is the machine's affair.
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(counts, st.floats(0, 1))
def test_what_is_worse_lost_two_scans_and_more_than_the_margin_and_nothing_else_is(rows, margin):
    before = report(*[(old, n) for old, _, n in rows])
    now = report(*[(new, n) for _, new, n in rows])
    found = {one.label: one for one in losses(before, now, margin)}
    for label, (old, new, n) in enumerate(rows):
        assert (label in found) == (old - new >= 2 and (old - new) > margin * n)
    lost, n = before.correct - now.correct, now.n
    assert (None in found) == (lost >= 2 and lost > margin * n)
    # Who is no worse one way may be worse the other, never both.
    assert not {one.label for one in losses(now, before, margin)} & set(found)


def test_features_come_back_as_they_were_written():
    rng = np.random.default_rng(1)
    made = Labelled(rng.random((7, PIXELS.feature_dim), np.float32), np.arange(7) % 4)
    again = Labelled.loads(made.dumps(), PIXELS)
    assert (again.features == made.features).all()
    assert (again.labels == made.labels).all()


@pytest.mark.parametrize("data", [b"", b"\x00" * 100, Labelled(np.zeros((2, 3), np.float32), np.zeros(2, int)).dumps()])
def test_what_is_no_such_file_is_refused(data):
    with pytest.raises(TrainingError) as caught:
        Labelled.loads(data, PIXELS)
    assert caught.value.code == "training_shape"


def test_the_digest_of_a_set_is_of_its_scans_in_any_order():
    one = [(0, "a"), (1, "b"), (1, "c")]
    assert set_digest(one) == set_digest(one[::-1])
    assert set_digest(one) != set_digest([(1, "a"), (1, "b"), (1, "c")])
    # sha256sum of the three lines 0:a, 1:b, 1:c
    assert set_digest(one) == "7fd84372036762000b7324399a1a1438b202ef6f7a39bfec5240860f5aa5dbb0"
