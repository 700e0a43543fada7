"""`python -m hospintel_site.demo`: parse the command line, point the settings at the demo's own folder, run."""

import argparse
import dataclasses
import os
import sys
from collections.abc import Callable
from pathlib import Path

from hospintel_site.demo.errors import DemoError
from hospintel_site.demo.folder import emptied
from hospintel_site.demo.options import MOST_HOSPITALS, Options
from hospintel_site.demo.signals import Signals, Stopped

ROOT = Path(__file__).resolve().parent.parent.parent
FOLDER = ROOT / "var" / "demo"
SKEWS = (float("inf"), 0.5, 0.1)
FAILED, INTERRUPTED = 1, 130
KEPT = frozenset({"HOSPINTEL_BASE_WEIGHTS", "HOSPINTEL_LOG_LEVEL"})


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
    parser.add_argument("--alpha", type=float, choices=SKEWS, default=SKEWS[0], help="Dirichlet skew of the labels")
    parser.add_argument("--seed", type=_number(0, 2**31 - 1), default=0)
    parser.add_argument("--port", type=_number(1, 65535), default=8000)
    parser.add_argument("--exit", action="store_true", help="end when the run is done")
    parser.add_argument("--smoke", action="store_true", help="the tiny architecture pixels-head16, without TensorFlow")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where everything is kept; emptied at the start")
    options = Options(**vars(parser.parse_args(arguments)))
    # Other processes, with other working folders, are given paths below it.
    return dataclasses.replace(options, folder=options.folder.absolute())


def main() -> int:
    """Run the demo. Returns the exit status: 0 done, 1 something failed (said on stderr), 130 interrupted."""
    options = parse(sys.argv[1:])
    signals = Signals()
    signals.install()
    try:
        with emptied(options.folder, ours=options.folder == FOLDER):
            _point_settings(options)
            from hospintel_site.demo.run import run_demo  # noqa: PLC0415 - it needs the settings made above

            return run_demo(options, signals)
    except DemoError as error:
        print(f"error: {error}", file=sys.stderr)
        if error.hint:
            print(f"hint: {error.hint}", file=sys.stderr)
        return FAILED
    except Stopped:
        return INTERRUPTED


def _point_settings(options: Options) -> None:
    """Before Django reads its settings: the demo never touches the database or the keys of `make run`."""
    for name in list(os.environ):
        if name.startswith(("HOSPINTEL_", "DATABASE_URL", "REDIS_URL")) and name not in KEPT:
            del os.environ[name]
    os.environ.update(
        DJANGO_SETTINGS_MODULE="hospintel_site.settings",
        HOSPINTEL_VAR=str(options.folder / "hub"),
        # Its passwords stand in the terminal: a second factor would only be in the way.
        HOSPINTEL_REQUIRE_ADMIN_OTP="0",
        HOSPINTEL_PORT=str(options.port),
    )


if __name__ == "__main__":
    sys.exit(main())
