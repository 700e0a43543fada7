"""Run all benchmarks, or the one that is named."""

import argparse
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import django
from django.core.management import call_command

ALL = "all"
NAMES = ("sealing", "aggregation", "audit", "live", "scans", "analyse", "domain")
# A quarter of an hour each: only where they are named.
LONG = ("load", "many")
KEPT = frozenset({"HOSPINTEL_BASE_WEIGHTS", "HOSPINTEL_BENCH_SCANS", "HOSPINTEL_BENCH_SECONDS"})


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Medians of interleaved runs.")
    parser.add_argument("name", nargs="?", default=ALL, choices=(ALL, *NAMES, *LONG))
    name = parser.parse_args().name
    wanted = list(NAMES) if name == ALL else [name]
    with tempfile.TemporaryDirectory(prefix="hospintel-bench-") as folder:
        _point_settings(Path(folder))
        _run(wanted, Path(folder))


def _point_settings(folder: Path) -> None:
    """Before Django reads its settings: a database and keys of our own."""
    for name in list(os.environ):
        if name.startswith(("HOSPINTEL_", "DATABASE_URL", "REDIS_URL")) and name not in KEPT:
            del os.environ[name]
    os.environ.update(DJANGO_SETTINGS_MODULE="hospintel_site.settings", HOSPINTEL_VAR=str(folder / "hub"))


def _run(wanted: list[str], folder: Path) -> None:
    django.setup()
    # Models exist only from here on.
    from benchmarks import aggregation, analyse, audit_log, domain, live, load, many, scans, sealing  # noqa: PLC0415

    call_command("migrate", verbosity=0)
    benchmarks: dict[str, Callable[[], None]] = {
        "sealing": sealing.run,
        "aggregation": aggregation.run,
        "audit": audit_log.run,
        "live": lambda: live.run(folder),
        "scans": scans.run,
        "analyse": lambda: analyse.run(folder),
        "domain": domain.run,
        "load": lambda: load.run(folder),
        "many": lambda: many.run(folder),
    }
    for name, run in benchmarks.items():
        if name in wanted:
            run()


if __name__ == "__main__":
    main()
