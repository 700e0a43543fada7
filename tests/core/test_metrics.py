import pytest
from hypothesis import given
from hypothesis import strategies as st

from hospintel_core import metrics

TABLE = ((5, 1, 0), (2, 6, 2), (0, 0, 4))
counts = st.lists(st.lists(st.integers(0, 1000), min_size=3, max_size=3), min_size=3, max_size=3)


def test_accuracy_is_the_share_of_the_diagonal():
    assert metrics.accuracy(TABLE) == 15 / 20
    assert metrics.accuracy(((0, 0), (0, 0))) is None


def test_figures_of_each_class_agree_with_a_table_worked_by_hand():
    first, second, third = metrics.per_class(TABLE)
    assert (first.precision, first.recall, first.f1, first.support) == (5 / 7, 5 / 6, 10 / 13, 6)
    assert (second.precision, second.recall, second.f1, second.support) == (6 / 7, 6 / 10, 12 / 17, 10)
    assert (third.precision, third.recall, third.f1, third.support) == (4 / 6, 1.0, 8 / 10, 4)
    assert metrics.macro_f1(TABLE) == pytest.approx((10 / 13 + 12 / 17 + 8 / 10) / 3)


def test_a_class_that_never_occurs_has_no_figures_and_does_not_count():
    first, second = metrics.per_class(((3, 0), (0, 0)))
    assert (second.precision, second.recall, second.f1, second.support) == (None, None, None, 0)
    assert metrics.macro_f1(((3, 0), (0, 0))) == first.f1 == 1.0
    assert metrics.macro_f1(((0, 0), (0, 0))) is None


def test_a_class_that_is_never_right_scores_zero():
    figures = metrics.per_class(((0, 2), (0, 3)))[0]
    assert (figures.precision, figures.recall, figures.f1, figures.support) == (None, 0.0, 0.0, 2)


def test_the_wilson_interval_agrees_with_published_values():
    # Newcombe 1998, table I, method 3: 81 of 263, 15 of 148, 0 of 20, 1 of 29.
    for successes, trials, low, high in (
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0000, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ):
        assert metrics.wilson_interval(successes, trials) == pytest.approx((low, high), abs=1e-4)


def test_nothing_measured_says_nothing():
    assert metrics.wilson_interval(0, 0) == (0.0, 1.0)


@pytest.mark.parametrize(("successes", "trials"), [(-1, 5), (6, 5)])
def test_impossible_counts_are_refused(successes, trials):
    with pytest.raises(ValueError, match="successes"):
        metrics.wilson_interval(successes, trials)


@given(st.integers(1, 10**6), st.data())
def test_the_interval_holds_the_share_and_stays_within_zero_and_one(trials, data):
    successes = data.draw(st.integers(0, trials))
    low, high = metrics.wilson_interval(successes, trials)
    assert 0 <= low <= successes / trials <= high <= 1


@given(counts)
def test_all_figures_lie_between_zero_and_one(table):
    for figures in metrics.per_class(table):
        for value in (figures.precision, figures.recall, figures.f1):
            assert value is None or 0 <= value <= 1
        if figures.f1 and figures.precision and figures.recall:
            harmonic = 2 * figures.precision * figures.recall / (figures.precision + figures.recall)
            assert figures.f1 == pytest.approx(harmonic)


@given(counts)
def test_accuracy_is_the_recall_weighted_by_support(table):
    total = sum(map(sum, table))
    weighted = sum(figures.recall * figures.support for figures in metrics.per_class(table) if figures.recall)
    assert (metrics.accuracy(table) or 0) * total == pytest.approx(weighted)


def test_the_interval_of_a_difference_agrees_with_published_values():
    # Newcombe 1998 (differences), table II, method 10: 56/70 - 48/80, 9/10 - 3/10, 10/10 - 0/10, 0/10 - 0/10.
    for after, before, low, high in (
        ((56, 70), (48, 80), 0.0524, 0.3339),
        ((9, 10), (3, 10), 0.1705, 0.8090),
        ((10, 10), (0, 10), 0.6075, 1.0000),
        ((0, 10), (0, 10), -0.2775, 0.2775),
    ):
        assert metrics.difference_interval(before, after) == pytest.approx((low, high), abs=1e-4)
    assert metrics.difference_interval((0, 0), (3, 10)) == (-1, 1)


@given(st.tuples(*[st.integers(0, 500)] * 4))
def test_the_interval_of_a_difference_holds_it_and_turns_round_with_it(numbers: tuple[int, int, int, int]):
    before, after = (numbers[0], numbers[0] + numbers[1] + 1), (numbers[2], numbers[2] + numbers[3] + 1)
    low, high = metrics.difference_interval(before, after)
    assert -1 <= low <= after[0] / after[1] - before[0] / before[1] <= high <= 1
    assert metrics.difference_interval(after, before) == pytest.approx((-high, -low))
