"""Run a demo from an empty folder to the summary."""

import json
import secrets
import shutil
import signal
import sys
import time
from pathlib import Path
from types import FrameType

import django

from hospintel_core import architectures
from hospintel_core.backbone import load_backbone
from hospintel_core.dataset import open_dataset
from hospintel_core.errors import CoreError
from hospintel_core.features import extract
from hospintel_core.training import evaluate_head
from hospintel_site.demo.options import Options
from hospintel_site.demo.processes import DemoError, Processes
from hospintel_site.demo.scans import Prepared, TooFewScansError, prepare

MODEL_SECONDS = 60


class Stopped(Exception):  # noqa: N818 - Ctrl-C is not an error
    """The user wants the demo to end."""


def _stop(signum: int, frame: FrameType | None) -> None:  # noqa: ARG001 - signal's signature
    raise Stopped


def run_demo(options: Options) -> int:
    """Run a demo. Returns the exit status: 0 done, 1 something failed (said on stderr)."""
    for signum in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signum, _stop)
    shutil.rmtree(options.folder, ignore_errors=True)
    options.folder.mkdir(parents=True)
    processes = Processes(options)
    try:
        _run(options, processes)
    except Stopped:
        return 0
    except (DemoError, CoreError, TooFewScansError) as error:
        print(f"error: {error}", file=sys.stderr)
        if getattr(error, "hint", ""):
            print(f"hint: {error.hint}", file=sys.stderr)  # type: ignore[union-attr] # just looked
        return 1
    finally:
        for signum in (signal.SIGINT, signal.SIGTERM):
            signal.signal(signum, signal.SIG_IGN)
        processes.stop()
    return 0


def _say(text: str = "") -> None:
    print(text, flush=True)


def _run(options: Options, processes: Processes) -> None:
    started = time.monotonic()
    prepared = prepare(options)
    _say(f"{options.hospitals} hospitals, {options.rounds} rounds of {options.epochs} epochs, {options.architecture}")
    _say(f"scans: {prepared.description}" + (" (synthetic, drawn by this program)" if options.data is None else ""))
    django.setup()
    from hospintel_site.demo import hub  # noqa: PLC0415 - models exist only after django.setup()

    hub.prepare(options)
    processes.start_hub()
    _say(f"hub: {processes.address}")
    passwords = {name: secrets.token_urlsafe(12) for name in ("admin", "doctor")}
    for number, code in enumerate(hub.people_and_codes(options, passwords), start=1):
        processes.enrol(number, code)
        processes.start_agent(number, prepared.hospitals[number - 1])
    run_id = hub.start_run(options)
    rounds = hub.watch(run_id, options, processes, say=_say)
    model, head_digest = hub.final_model(MODEL_SECONDS)
    shutil.copyfile(model, options.folder / "global_model.h5")
    summary = {
        "rounds": [found.as_dict() for found in rounds],
        "test_accuracy": _test_accuracy(options, prepared),
        "final_digest": head_digest,
        "seconds": round(time.monotonic() - started, 3),
        "data": prepared.description,
    }
    (options.folder / "summary.json").write_text(json.dumps(summary, indent=2) + "\n")
    if not options.exit:
        _say(f"portal: {processes.address}  " + "  ".join(f"{who} / {word}" for who, word in passwords.items()))
        _say("Ctrl-C ends the hub and the agents.")
    _say(json.dumps(summary))
    while not options.exit:
        processes.check()
        time.sleep(1)


def _test_accuracy(options: Options, prepared: Prepared) -> float | None:
    """Return the final version's accuracy on the test scans, features and head computed here as anywhere else."""
    from hospintel_site.demo import hub  # noqa: PLC0415 - see _run

    if prepared.test is None:
        return None
    architecture = architectures.get(options.architecture)
    with open_dataset(Path(prepared.test), architectures.CLASSES) as dataset:
        found = extract(dataset, architecture, lambda: load_backbone(architecture))
    return evaluate_head(architecture, hub.final_head(architecture), found.features, found.labels).accuracy
