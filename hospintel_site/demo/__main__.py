"""`python -m hospintel_site.demo`: parse the command line, point the settings at the demo's own folder, run."""

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path

from hospintel_site.demo.options import MOST_HOSPITALS, Options

ROOT = Path(__file__).resolve().parent.parent.parent
SKEWS = ("inf", "0.5", "0.1")


def _number(low: int, high: int) -> Callable[[str], int]:
    def convert(text: str) -> int:
        value = int(text)
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"{value} is not from {low} to {high}")
        return value

    return convert


def parse(arguments: list[str]) -> Options:
    """Return the options of a demo."""
    parser = argparse.ArgumentParser(prog="make demo", description="Hospitals train one model together.")
    parser.add_argument("--hospitals", type=_number(1, MOST_HOSPITALS), default=3)
    parser.add_argument("--rounds", type=_number(1, 1000), default=5)
    parser.add_argument("--epochs", type=_number(1, 100), default=5)
    parser.add_argument("--data", type=Path, help="folder or zip of class folders; without it scans are synthetic")
    parser.add_argument("--test", type=Path, help="folder or zip of class folders for the final accuracy")
    parser.add_argument("--alpha", choices=SKEWS, default="inf", help="Dirichlet skew of the labels; inf is even")
    parser.add_argument("--seed", type=_number(0, 2**31 - 1), default=0)
    parser.add_argument("--port", type=_number(1, 65535), default=8000)
    parser.add_argument("--exit", action="store_true", help="end when the run is done")
    parser.add_argument("--smoke", action="store_true", help="the tiny architecture pixels-head16, without TensorFlow")
    given = parser.parse_args(arguments)
    folder = ROOT / "var" / "demo"
    return Options(root=ROOT, folder=folder, **vars(given))


def main() -> int:
    """Run the demo. Returns the exit status."""
    options = parse(sys.argv[1:])
    # Before Django reads its settings: the demo never touches the database of `make run`.
    os.environ.update(
        DJANGO_SETTINGS_MODULE="hospintel_site.settings",
        HOSPINTEL_VAR=str(options.folder / "hub"),
        HOSPINTEL_PORT=str(options.port),
    )
    for outside in ("DATABASE_URL", "REDIS_URL", "HOSPINTEL_KEYS", "HOSPINTEL_STORAGE"):
        os.environ.pop(outside, None)
    from hospintel_site.demo.run import run_demo  # noqa: PLC0415 - it needs the settings made above

    return run_demo(options)


if __name__ == "__main__":
    sys.exit(main())
