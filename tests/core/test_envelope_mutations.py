"""Thousands of damaged updates, in the order of a seed: none may open, and only EnvelopeError may come out."""

import random
from collections import Counter

from sealed import open_it, resign, seal

from hospintel_core.errors import EnvelopeError

COUNT = 5_000
PAYLOAD = b"forty-two bytes of a small hospital's head"


def mutated(data, chance):
    """``data`` after one to three small accidents or attacks; never equal to ``data``."""
    changed = data
    while changed == data:
        for _ in range(chance.randint(1, 3)):
            changed = chance.choice(ACCIDENTS)(changed, chance)
    return changed


def _spot(data, chance):
    # The header and the keys are a quarter of the bytes but most of the rules.
    end = chance.choice([8, 192, 608, 664, len(data)])
    return chance.randrange(min(end, len(data)))


def flip_bit(data, chance):
    spot = _spot(data, chance)
    return data[:spot] + bytes([data[spot] ^ 1 << chance.randrange(8)]) + data[spot + 1 :]


def set_bytes(data, chance):
    spot, length = _spot(data, chance), chance.randint(1, 32)
    return data[:spot] + chance.randbytes(len(data[spot : spot + length])) + data[spot + length :]


def set_extreme(data, chance):
    spot, length = _spot(data, chance), chance.randint(1, 32)
    return data[:spot] + chance.choice([b"\0", b"\xff"]) * len(data[spot : spot + length]) + data[spot + length :]


def cut(data, chance):
    spot, length = _spot(data, chance), chance.randint(1, 64)
    return data[:spot] + data[spot + length :] or data


def insert(data, chance):
    spot = _spot(data, chance)
    return data[:spot] + chance.randbytes(chance.randint(1, 64)) + data[spot:]


def swap(data, chance):
    spot, length = chance.randrange(len(data)), chance.randint(1, 32)
    one, two = data[spot : spot + length], data[spot + length : spot + 2 * length]
    return data[:spot] + two + one + data[spot + 2 * length :]


def truncate(data, chance):
    return data[: chance.randrange(1, len(data) + 1)]


def change_length_field(data, chance):
    if len(data) < 192:
        return data
    return data[:184] + chance.choice([0, 1, 41, 43, 16_384, 2**63, 2**64 - 1]).to_bytes(8, "big") + data[192:]


ACCIDENTS = [flip_bit, flip_bit, flip_bit, set_bytes, set_extreme, cut, insert, swap, truncate, change_length_field]


def refusals(damage):
    sealed, chance, codes = seal(PAYLOAD), random.Random("hospintel"), Counter()
    for _ in range(COUNT):
        data = damage(sealed, chance)
        try:
            open_it(data)
        except EnvelopeError as error:
            codes[error.code] += 1
        else:
            codes["accepted"] += 1
    return codes


def test_no_damaged_update_opens():
    codes = refusals(mutated)
    assert codes["accepted"] == 0
    assert codes.total() == COUNT
    assert codes["envelope_signature"] > COUNT / 4


def test_no_damaged_update_opens_even_if_the_same_agent_signs_it_again():
    """The inner layer alone, as if an agent's machine were made to sign whatever is put before it."""

    def damage(sealed, chance):
        while True:
            changed = mutated(sealed, chance)
            # Damage to the old signature alone is undone by signing again.
            if changed[:-64] != sealed[:-64]:
                return resign(changed)

    codes = refusals(damage)
    assert codes["accepted"] == codes["envelope_signature"] == 0
    assert codes.total() == COUNT
    assert {"envelope_commitment", "envelope_payload", "envelope_unwrap", "envelope_length"} <= codes.keys()
