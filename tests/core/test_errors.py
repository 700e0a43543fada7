import copy
import pickle

import pytest

from hospintel_core import errors
from hospintel_core.errors import CoreError

KINDS = sorted(
    (kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, CoreError)),
    key=lambda kind: kind.__name__,
)


def test_an_error_has_a_code_a_sentence_and_a_hint():
    error = errors.KeyFileError("key_exists", "agent.pem exists.", "Keys are never overwritten.")
    assert (error.code, str(error), error.hint) == ("key_exists", "agent.pem exists.", "Keys are never overwritten.")
    assert errors.KeyFileError("key_kind", "x").hint == ""


def test_an_unlisted_code_is_a_programming_error():
    with pytest.raises(ValueError, match="has no code"):
        errors.KeyFileError("envelope_magic", "x")
    with pytest.raises(ValueError, match="has no code"):
        CoreError("anything", "x")


def test_every_kind_is_a_core_error_with_codes_of_its_own():
    concrete = [kind for kind in KINDS if kind is not CoreError]
    assert len(concrete) >= 14
    codes = [code for kind in concrete for code in kind.codes]
    assert all(kind.codes for kind in concrete)
    assert len(codes) == len(set(codes))
    assert all(code == code.lower() and code.replace("_", "").isalnum() for code in codes)


def test_an_error_survives_the_trip_between_processes():
    error = errors.PlanError("plan_range", "epochs must be from 1 to 100.", "hint")
    for back in (copy.copy(error), pickle.loads(pickle.dumps(error))):
        assert (back.code, back.detail, back.hint) == (error.code, error.detail, error.hint)
