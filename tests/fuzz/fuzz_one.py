"""One family of parsers under atheris: `fuzz_one.py FAMILY FOLDER [libFuzzer's options]` begins with what lies there.

`make fuzz` starts it. `fuzz_one.py FAMILY FILE` reads a file that it left behind once more.
"""

import importlib
import os
import sys
import tempfile
from pathlib import Path

import atheris
import fuzz_parsers as parsers
from fuzz_mutate import damaged_json


def main() -> None:
    """Read inputs until libFuzzer has enough; ends the process."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "hospintel_site.settings")
    os.environ.setdefault("HOSPINTEL_VAR", tempfile.mkdtemp(prefix="hospintel-fuzz-"))
    name, *asked = sys.argv[1:]
    with atheris.instrument_imports(include=list(parsers.FAMILIES[name])):
        family = importlib.import_module(f"fuzz_{name}").FAMILY
    folder = Path(asked[0]) if asked else None
    if folder is not None and folder.is_dir():
        for number, sample in enumerate(parsers.corpus(family)):
            (folder / f"sample-{number}").write_bytes(sample)
    assert "tensorflow" not in sys.modules, "no parser needs it"
    atheris.Setup([sys.argv[0], *asked], lambda data: parsers.take(family, data), custom_mutator=mutated)
    atheris.Fuzz()


def mutated(data: bytes, most: int, seed: int) -> bytes:
    """Return the next input to one that led somewhere."""
    changed = damaged_json(data, seed)
    if changed is None or len(changed) > most:
        return bytes(atheris.Mutate(data, len(data)) if len(data) >= most else atheris.Mutate(data, most))
    return changed


if __name__ == "__main__":
    main()
