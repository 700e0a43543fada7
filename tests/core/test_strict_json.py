import pytest
from hypothesis import given
from hypothesis import strategies as st

from hospintel_core import strict_json

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@given(VALUES.filter(lambda value: "\\ud" not in ascii(value)))
def test_canonical_text_reads_back_and_writes_the_same(value):
    text = strict_json.canonical(value)
    assert strict_json.parse(text) == value
    assert strict_json.canonical(strict_json.parse(text)) == text


def test_canonical_text_has_sorted_keys_no_spaces_and_plain_unicode():
    assert strict_json.canonical({"b": [1, 2.5], "a": "é"}) == '{"a":"é","b":[1,2.5]}'


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_no_number_outside_json_is_written(value):
    with pytest.raises(ValueError, match="JSON compliant"):
        strict_json.canonical(value)


@pytest.mark.parametrize("text", ['{"a":1,"a":1}', '{"x":{"a":1,"a":2}}', '[{"a":1,"a":2}]', '{"\\u0061":1,"a":2}'])
def test_a_repeated_key_is_refused_at_any_depth(text):
    with pytest.raises(strict_json.RepeatedKeyError):
        strict_json.parse(text)


@pytest.mark.parametrize(
    "text", ["", "NaN", "[Infinity]", "-Infinity", "1e999", '"\\ud800"', '{"\\udfff":1}', "[" * 100_000, "1 2", "'a'"]
)
def test_what_another_reader_may_refuse_or_read_otherwise_is_refused(text):
    with pytest.raises(ValueError):  # noqa: PT011
        strict_json.parse(text)
