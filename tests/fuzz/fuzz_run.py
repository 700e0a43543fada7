"""All families of parsers, each in a process of its own: `make fuzz SECONDS=60 JOBS=2`.

Each begins with samples that are made anew, and keeps what libFuzzer found to lead further in FOLDER/FAMILY, which the
next run begins with too. What a parser may not raise ends its family: the input lies in FOLDER, its traceback is shown.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from fuzz_parsers import FAMILIES

ROOT = Path(__file__).resolve().parents[2]
MEMORY_MB, INPUT_SECONDS, MOST_BYTES = 2048, 25, 64 * 1024
# To start, to read what there is, to end.
START_SECONDS = 240
_COUNT = re.compile(r"^(?:Done|stat::number_of_executed_units:|#)\s*(\d+)", re.MULTILINE)
_COVERAGE = re.compile(r"cov: (\d+)")


@dataclass(frozen=True)
class Outcome:
    """What came of a family: how many inputs were read, how many places reached, in how long; what was wrong."""

    family: str
    inputs: int
    places: int
    seconds: float
    problem: str


def main() -> int:
    """Fuzz; 1 where something was found."""
    parser = argparse.ArgumentParser(description="Fuzz every parser of bytes from outside.")
    parser.add_argument("--seconds", type=int, default=60, help="for each family")
    parser.add_argument("--jobs", type=int, default=2, help="families at a time")
    parser.add_argument("--folder", type=Path, default=ROOT / "var" / "fuzz")
    parser.add_argument("families", nargs="*", default=[], metavar="family", help=" ".join(FAMILIES))
    asked = parser.parse_args()
    asked.folder.mkdir(parents=True, exist_ok=True)
    begun = time.monotonic()
    with ThreadPoolExecutor(asked.jobs) as pool:
        found = list(pool.map(lambda name: fuzz(name, asked.folder, asked.seconds), asked.families or FAMILIES))
    for outcome in found:
        rate = outcome.inputs / max(outcome.seconds, 1)
        said = outcome.problem or "nothing"
        print(f"{outcome.family:10}{outcome.inputs:10,} inputs ({rate:,.0f}/s), {outcome.places:,} places: {said}")
    print(f"{sum(outcome.inputs for outcome in found):,} inputs in {time.monotonic() - begun:.0f} s")
    return 1 if any(outcome.problem for outcome in found) else 0


def fuzz(family: str, folder: Path, seconds: int) -> Outcome:
    """Have one family read inputs for so long."""
    kept, log = folder / family, folder / f"{family}.log"
    kept.mkdir(exist_ok=True)
    options = [
        f"-max_total_time={seconds}",
        f"-rss_limit_mb={MEMORY_MB}",
        f"-timeout={INPUT_SECONDS}",
        f"-max_len={MOST_BYTES}",
        f"-artifact_prefix={folder}/{family}-",
        "-print_final_stats=1",
        "-len_control=0",
    ]
    begun = time.monotonic()
    one = [sys.executable, str(Path(__file__).with_name("fuzz_one.py")), family, str(kept), *options]
    most = seconds + START_SECONDS
    with log.open("w") as out, tempfile.TemporaryDirectory(prefix="hospintel-fuzz-") as scratch:
        variables = environment() | {"TMPDIR": scratch}
        ended = subprocess.run(one, stdout=out, stderr=subprocess.STDOUT, env=variables, timeout=most, check=False)
    text = log.read_text(errors="replace")
    problem = "" if ended.returncode == 0 else f"see {log}\n{_end(text)}"
    inputs = max(map(int, _COUNT.findall(text)), default=0)
    places = max(map(int, _COVERAGE.findall(text)), default=0)
    return Outcome(family, inputs, places, time.monotonic() - begun, problem)


def _end(text: str) -> str:
    """The traceback and where the input lies, without what libFuzzer counted before."""
    at = max(text.rfind("=== Uncaught"), text.rfind("==ERROR"), len(text) - 4000, 0)
    return text[at:]


def environment() -> dict[str, str]:
    """The caller's, without what would point at another hub."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HOSPINTEL_", "DATABASE_URL"))}
    paths = [ROOT, *(ROOT / "tests" / name for name in ("core", "fuzz"))]
    return {**kept, "PYTHONPATH": os.pathsep.join(map(str, paths))}


if __name__ == "__main__":
    sys.exit(main())
