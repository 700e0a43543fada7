import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from hospintel_core import aggregate
from hospintel_core.aggregate import Contribution, fedavg, mean, with_momentum
from hospintel_core.errors import AggregationError

BASE = {"w": np.array([[1.0, 2.0]], np.float32), "b": np.array([10.0], np.float32)}
VALUES = hnp.arrays(np.float32, (3, 2), elements=st.floats(-100, 100, width=32))


def delta(w1, w2, b):
    return {"w": np.array([[w1, w2]], np.float32), "b": np.array([b], np.float32)}


def refused(contributions, base=BASE, rule=fedavg):
    with pytest.raises(AggregationError) as caught:
        rule(base, contributions)
    return caught.value.code


def as_lists(arrays):
    return {name: array.tolist() for name, array in arrays.items()}


def test_fedavg_weighs_by_samples():
    result = fedavg(BASE, [Contribution("a", 1, delta(4, 0, 8)), Contribution("b", 3, delta(0, 4, -8))])
    assert as_lists(result) == {"w": [[2.0, 5.0]], "b": [6.0]}


def test_mean_counts_each_hospital_once():
    result = mean(BASE, [Contribution("a", 1, delta(4, 0, 8)), Contribution("b", 3, delta(0, 4, -8))])
    assert as_lists(result) == {"w": [[3.0, 4.0]], "b": [10.0]}


def test_three_hospitals_by_hand():
    contributions = [
        Contribution("a", 2, delta(1, 1, 1)),
        Contribution("b", 2, delta(2, 0, -1)),
        Contribution("c", 4, delta(0, -1, 0.5)),
    ]
    assert as_lists(fedavg(BASE, contributions)) == {"w": [[1.75, 1.75]], "b": [10.25]}
    assert as_lists(mean(BASE, contributions)) == {"w": [[2.0, 2.0]], "b": [pytest.approx(10 + 1 / 6)]}


@pytest.mark.parametrize("rule", aggregate.RULES.values())
@given(base=VALUES, change=VALUES, num_samples=st.integers(1, 100_000))
def test_one_contribution_is_taken_as_it_is(rule, base, change, num_samples):
    result = rule({"w": base}, [Contribution("a", num_samples, {"w": change})])
    assert np.array_equal(result["w"], base + change)


@given(base=VALUES, changes=st.lists(VALUES, min_size=1, max_size=5), num_samples=st.integers(1, 1000))
def test_equal_weights_make_fedavg_the_mean(base, changes, num_samples):
    contributions = [Contribution(str(i), num_samples, {"w": change}) for i, change in enumerate(changes)]
    by_samples, plain = fedavg({"w": base}, contributions), mean({"w": base}, contributions)
    np.testing.assert_allclose(by_samples["w"], plain["w"], rtol=1e-6, atol=1e-6)


@given(base=VALUES, changes=st.lists(st.tuples(VALUES, st.integers(1, 1000)), min_size=1, max_size=5))
def test_only_the_ratio_of_the_sample_counts_matters(base, changes):
    def run(factor):
        return fedavg({"w": base}, [Contribution(str(i), n * factor, {"w": d}) for i, (d, n) in enumerate(changes)])

    # Doubling is exact in floating point; any other factor only up to rounding.
    assert np.array_equal(run(1)["w"], run(2)["w"])
    np.testing.assert_allclose(run(1)["w"], run(7)["w"], rtol=1e-6, atol=1e-6)


@given(base=VALUES, changes=st.lists(st.tuples(VALUES, st.integers(1, 1000)), min_size=1, max_size=6))
def test_it_is_the_weighted_mean_within_float32(base, changes):
    result = fedavg({"w": base}, [Contribution(str(i), n, {"w": d}) for i, (d, n) in enumerate(changes)])
    stacked = np.stack([change.astype(np.float64) for change, _ in changes])
    expected = base + np.average(stacked, axis=0, weights=[n for _, n in changes])
    np.testing.assert_allclose(result["w"], expected, rtol=1e-6, atol=1e-6)


def big(count, size=100_000):
    chance = np.random.default_rng(5)
    return [
        Contribution(f"{i:03}", i + 1, {"w": chance.standard_normal(size).astype(np.float32)}) for i in range(count)
    ]


def test_a_second_run_gives_the_same_bytes():
    base = {"w": np.linspace(-1, 1, 100_000, dtype=np.float32)}
    assert fedavg(base, big(7))["w"].tobytes() == fedavg(base, iter(big(7)))["w"].tobytes()


def test_memory_layout_does_not_change_the_bytes():
    base = {"w": np.zeros((300, 400), np.float32)}
    change = np.random.default_rng(1).standard_normal((300, 400)).astype(np.float32)
    plain = fedavg(base, [Contribution("a", 3, {"w": change})])
    turned = fedavg(base, [Contribution("a", 3, {"w": np.asfortranarray(change)})])
    assert plain["w"].tobytes() == turned["w"].tobytes()


def test_float64_accumulators_keep_what_float32_would_lose():
    base = {"w": np.zeros(1, np.float32)}
    big_then_small = [Contribution("a", 1, {"w": np.array([1e8], np.float32)})]
    big_then_small += [Contribution(f"b{i}", 1, {"w": np.array([1.0], np.float32)}) for i in range(8)]
    big_then_small += [Contribution("c", 1, {"w": np.array([-1e8], np.float32)})]
    assert fedavg(base, big_then_small)["w"][0] == np.float32(0.8)


@pytest.mark.parametrize("rule", aggregate.RULES.values())
def test_inputs_are_not_changed(rule):
    base = {"w": np.ones(5, np.float32)}
    contributions = [Contribution(str(i), i + 1, {"w": np.full(5, float(i), np.float32)}) for i in range(3)]
    result = rule(base, contributions)
    assert base["w"].tolist() == [1.0] * 5
    assert [list(item.delta["w"]) for item in contributions] == [[float(i)] * 5 for i in range(3)]
    result["w"] += 1
    assert base["w"].tolist() == [1.0] * 5


def test_the_result_has_the_bases_names_shapes_and_float32():
    result = fedavg(BASE, [Contribution("a", 1, delta(0, 0, 0))])
    assert {name: (array.dtype, array.shape) for name, array in result.items()} == {
        "w": (np.float32, (1, 2)),
        "b": (np.float32, (1,)),
    }


def peak_memory(count, size=1_000_000):
    base = {"w": np.zeros(size, np.float32)}
    tracemalloc.start()
    fedavg(base, (Contribution(f"{i:03}", 1, {"w": np.full(size, i, np.float32)}) for i in range(count)))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


def test_memory_does_not_grow_with_the_number_of_hospitals():
    few, many = peak_memory(2), peak_memory(40)
    assert many < few * 1.01
    # 8 MB of sums, 4 MB of result, 4 MB of one contribution, scratch.
    assert many < 17.5e6


def test_contributions_are_consumed_one_by_one():
    alive = []

    def stream():
        for sender in "abc":
            alive.append(sender)
            yield Contribution(sender, 1, delta(1, 1, 1))
            assert alive[-1] == sender

    fedavg(BASE, stream())
    assert alive == ["a", "b", "c"]


@pytest.mark.parametrize("senders", ["ba", "aa", "acb"])
def test_senders_must_come_in_strictly_increasing_order(senders):
    assert refused([Contribution(sender, 1, delta(0, 0, 0)) for sender in senders]) == "sender_order"


def test_nothing_to_aggregate_is_an_error():
    assert refused([]) == "no_contributions"
    assert refused(iter([]), rule=mean) == "no_contributions"


@pytest.mark.parametrize("num_samples", [0, -1])
@pytest.mark.parametrize("rule", aggregate.RULES.values())
def test_a_contribution_without_samples_is_an_error(rule, num_samples):
    assert refused([Contribution("a", num_samples, delta(0, 0, 0))], rule=rule) == "num_samples"


@pytest.mark.parametrize(
    "changes",
    [
        {"w": np.zeros((2, 1), np.float32)},
        {"w": np.zeros((1, 2), np.float64)},
        {"more": np.zeros(1, np.float32)},
    ],
)
def test_a_contribution_of_another_schema_is_an_error(changes):
    assert refused([Contribution("a", 1, delta(0, 0, 0) | changes)]) == "schema_mismatch"
    assert refused([Contribution("a", 1, {"w": BASE["w"]})]) == "schema_mismatch"


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_sum_that_is_not_finite_is_an_error(value):
    assert refused([Contribution("a", 1, delta(0, 0, value))]) == "not_finite"


def test_a_sum_too_large_for_float32_is_an_error():
    huge = {"w": np.array([3e38], np.float32)}
    assert refused([Contribution("a", 1, huge)], base=huge) == "not_finite"


def test_infinities_that_cancel_are_an_error():
    base = {"w": np.zeros(1, np.float32)}
    opposite = [Contribution(s, 1, {"w": np.array([v], np.float32)}) for s, v in [("a", np.inf), ("b", -np.inf)]]
    assert refused(opposite, base=base) == "not_finite"


def test_rules_are_found_by_name():
    assert aggregate.get_rule("fedavg") is fedavg
    assert aggregate.get_rule("mean") is mean
    with pytest.raises(AggregationError) as caught:
        aggregate.get_rule("median")
    assert caught.value.code == "unknown_rule"


@settings(max_examples=20, deadline=None)
@given(sizes=st.lists(st.integers(1, 200_000), min_size=1, max_size=2))
def test_arrays_of_any_size_are_summed_whole(sizes):
    base = {str(i): np.zeros(size, np.float32) for i, size in enumerate(sizes)}
    change = {name: np.arange(array.size, dtype=np.float32) for name, array in base.items()}
    result = mean(base, [Contribution("a", 1, change), Contribution("b", 1, change)])
    assert all(np.array_equal(result[name], change[name]) for name in base)


def test_momentum_carries_the_last_movement_on():
    head, previous = delta(2, 5, 6), delta(0, 3, 10)
    # The base moved by (1, -1) and 0 to get where it is.
    assert as_lists(with_momentum(head, BASE, previous, 0.5)) == {"w": [[2.5, 4.5]], "b": [6.0]}
    assert as_lists(with_momentum(head, BASE, previous, 0.75)) == {"w": [[2.75, 4.25]], "b": [6.0]}


@pytest.mark.parametrize(("previous", "momentum"), [(None, 0.9), (BASE, 0.0), (delta(9, 9, 9), 0.0), (BASE, 0.9)])
def test_without_momentum_or_movement_the_head_stays(previous, momentum):
    head = delta(2, 5, 6)
    result = with_momentum(head, BASE, previous, momentum)
    assert as_lists(result) == as_lists(head)
    assert {array.dtype for array in result.values()} == {np.dtype(np.float32)}


@given(changes=st.lists(VALUES, min_size=1, max_size=6), momentum=st.floats(0, 0.99))
def test_two_stored_heads_hold_the_velocity_of_fedavgm(changes, momentum):
    head, previous = np.zeros((3, 2), np.float32), None
    expected, velocity = np.zeros((3, 2)), np.zeros((3, 2))
    for change in changes:
        moved = with_momentum(
            {"w": head + change}, {"w": head}, None if previous is None else {"w": previous}, momentum
        )["w"]
        head, previous = moved, head
        velocity = momentum * velocity + change
        expected = expected + velocity
    assert np.allclose(head, expected, rtol=1e-4, atol=1e-2)


@pytest.mark.parametrize("momentum", [-0.1, 1.0, float("nan"), float("inf")])
def test_momentum_out_of_range(momentum):
    with pytest.raises(AggregationError) as caught:
        with_momentum(BASE, BASE, BASE, momentum)
    assert caught.value.code == "momentum_range"


@pytest.mark.parametrize(
    "previous", [{"w": BASE["w"]}, BASE | {"more": BASE["b"]}, BASE | {"b": np.zeros((1, 1), np.float32)}]
)
def test_momentum_between_heads_of_another_form(previous):
    with pytest.raises(AggregationError) as caught:
        with_momentum(BASE, BASE, previous, 0.9)
    assert caught.value.code == "schema_mismatch"


def test_momentum_beyond_float32():
    far = {"w": np.array([3e38], np.float32)}
    with pytest.raises(AggregationError) as caught:
        with_momentum(far, far, {"w": np.array([-3e38], np.float32)}, 0.9)
    assert caught.value.code == "not_finite"
