"""What `make fuzz` feeds: each parser takes its samples, and at damaged ones raises nothing that it may not."""

import importlib
import random
import subprocess
import sys

import fuzz_run
import pytest
from fuzz_parsers import FAMILIES, Parser, corpus, take

DAMAGED = 60


@pytest.fixture(params=list(FAMILIES))
def family(request):
    return importlib.import_module(f"fuzz_{request.param}").FAMILY


def test_each_parser_takes_its_first_sample(family):
    for parser in family.values():
        parser.read(parser.seeds()[0])


def test_damaged_samples_are_refused_as_documented(family):
    rng = random.Random(5)
    samples = corpus(family)
    for _ in range(DAMAGED):
        damaged = bytearray(rng.choice(samples))
        for _ in range(rng.randint(1, 4)):
            damaged[rng.randrange(1, len(damaged))] = rng.randrange(256)
        take(family, bytes(damaged[: rng.choice([len(damaged), rng.randrange(1, len(damaged) + 1)])]))


def test_what_no_parser_may_raise_is_not_swallowed():
    def read(data):
        raise KeyError(data)

    with pytest.raises(KeyError):
        take({"one": Parser(read, (ValueError,), lambda: [b"x"])}, b"\0x")


def test_no_parser_needs_tensorflow():
    names = ", ".join(f"fuzz_{name}" for name in FAMILIES)
    environment = fuzz_run.environment() | {"DJANGO_SETTINGS_MODULE": "hospintel_site.settings"}
    code = f"import sys, {names}; sys.exit('tensorflow' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], env=environment, check=True, timeout=240)
