import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hospintel_core.errors import ReportError
from hospintel_core.report import Report

COUNTS = st.integers(0, 1000)
TABLES = st.lists(st.lists(COUNTS, min_size=4, max_size=4).map(tuple), min_size=4, max_size=4).map(tuple)
REPORTS = st.builds(
    lambda table, loss, ms: Report(table, loss * sum(map(sum, table)), ms), TABLES, st.integers(0, 10**7), COUNTS
)
TWO = Report(((3, 1), (0, 4)), 2_000_000, 50)
GOOD = TWO.to_dict()


def refused(value, classes=2, max_n=100):
    with pytest.raises(ReportError) as caught:
        Report.from_json(value if isinstance(value, str) else json.dumps(value), classes, max_n)
    return caught.value.code


def test_what_a_report_says_is_worked_out_by_hand():
    assert (TWO.n, TWO.correct, TWO.accuracy, TWO.loss) == (8, 7, 0.875, 0.25)


def test_a_hospital_without_scans_reports_nothing_rather_than_zero():
    empty = Report(((0, 0), (0, 0)), 0)
    assert (empty.n, empty.accuracy, empty.loss, empty.train_ms) == (0, None, None, 0)
    assert Report.from_json(empty.to_json(), 2, 0) == empty


@given(REPORTS)
def test_a_report_comes_back_as_it_was(report):
    assert Report.from_json(report.to_json(), 4, 16_000) == report
    assert Report.from_dict(report.to_dict(), 4, 16_000) == report


@given(REPORTS, REPORTS)
def test_reports_add_up_count_by_count_and_take_the_longer_time(one, two):
    both = one + two
    assert both == two + one
    assert both.n == one.n + two.n
    assert both.correct == one.correct + two.correct
    assert both.loss_micro == one.loss_micro + two.loss_micro
    assert both.train_ms == max(one.train_ms, two.train_ms)


def test_reports_over_different_classes_do_not_add_up():
    with pytest.raises(ReportError) as caught:
        TWO + Report(((1,),), 0)
    assert caught.value.code == "report_shape"


def test_the_text_is_canonical():
    assert TWO.to_json() == '{"confusion":[[3,1],[0,4]],"loss_micro":2000000,"train_ms":50}'


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "{}{}",
        '{"confusion":[[1]],"confusion":[[2]],"loss_micro":0,"train_ms":0}',
        '{"confusion":[[NaN]],"loss_micro":0,"train_ms":0}',
        "[" * 10_000,
        TWO.to_json() + " " * 16_384,
    ],
)
def test_text_that_is_not_strict_json_is_refused(text):
    assert refused(text) == "report_json"


@pytest.mark.parametrize(
    "value",
    [
        [],
        None,
        {},
        {"confusion": [[3, 1], [0, 4]], "loss_micro": 1},
        GOOD | {"patient": "J. D."},
        GOOD | {"confusion": None},
        GOOD | {"confusion": {}},
        GOOD | {"confusion": [[3, 1]]},
        GOOD | {"confusion": [[3, 1], [0, 4], [0, 0]]},
        GOOD | {"confusion": [[3, 1, 0], [0, 4, 0]]},
        GOOD | {"confusion": [[3, 1], "04"]},
        GOOD | {"confusion": [[3, 1], None]},
        GOOD | {"confusion": [[3, 1], 4]},
        GOOD | {"confusion": [[3, 1, 0], [0, 4, 0], [0, 0, 0]]},
        GOOD | {"confusion": [[3, 1], [0, 4.0]]},
        GOOD | {"confusion": [[3, 1], [0, True]]},
        GOOD | {"confusion": [[3, 1], [0, "4"]]},
        GOOD | {"confusion": [[3, 1], [0, [4]]]},
        GOOD | {"loss_micro": 2.5},
        GOOD | {"loss_micro": None},
        GOOD | {"train_ms": "50"},
    ],
)
def test_another_form_is_refused(value):
    assert refused(value) == "report_shape"


@pytest.mark.parametrize(
    "value",
    [
        GOOD | {"confusion": [[3, -1], [0, 4]]},
        GOOD | {"loss_micro": -1},
        GOOD | {"train_ms": -1},
        GOOD | {"confusion": [[90, 1], [0, 10]]},
        GOOD | {"confusion": [[10**30, 1], [0, 10]]},
        GOOD | {"loss_micro": 8 * 1000 * 1_000_000 + 1},
        GOOD | {"confusion": [[0, 0], [0, 0]]},
        GOOD | {"train_ms": 30 * 24 * 3600 * 1000 + 1},
    ],
)
def test_an_implausible_number_is_refused(value):
    assert refused(value) == "report_range"


def test_the_limits_themselves_are_accepted():
    value = {"confusion": [[90, 0], [0, 10]], "loss_micro": 100 * 1000 * 1_000_000, "train_ms": 30 * 24 * 3600 * 1000}
    assert Report.from_dict(value, 2, 100).n == 100


@pytest.mark.parametrize("table", [(), ((1, 2),), ((1,), (2,)), ((1.0,),)])
def test_a_report_that_cannot_be_written_cannot_be_made(table):
    with pytest.raises(ReportError):
        Report(table, 0)


@given(st.text(max_size=60))
def test_no_text_brings_out_another_error(text):
    with pytest.raises(ReportError):
        Report.from_json(text, 2, 100)
