"""Run a demo from an empty folder to the summary."""

import json
import os
import secrets
import sys
import time
from pathlib import Path

import django

from hospintel_core import architectures
from hospintel_core.backbone import find_base_weights, load_backbone
from hospintel_core.dataset import open_dataset
from hospintel_core.errors import CoreError
from hospintel_core.features import extract
from hospintel_core.training import evaluate_head
from hospintel_site import ports
from hospintel_site.demo import scans
from hospintel_site.demo.errors import DemoError
from hospintel_site.demo.options import Options
from hospintel_site.demo.processes import LOOPBACK, Processes
from hospintel_site.demo.scans import Prepared
from hospintel_site.demo.signals import Signals, Stopped

MODEL_SECONDS = 60


def run_demo(options: Options, signals: Signals) -> int:
    """Run a demo in its emptied folder. Returns the exit status; Ctrl-C after the summary is an end as any other.

    Raises:
        DemoError: something that it needs is not there or did not happen.
        Stopped: by Ctrl-C before the summary.
    """
    processes = Processes(options.folder, options.port, os.environ, signals)
    summarised = False
    try:
        _check(options)
        _run(options, processes)
        summarised = True
        while not options.exit:
            processes.check()
            time.sleep(1)
    except CoreError as error:
        raise DemoError(error.detail, error.hint) from error
    except Stopped:
        if not summarised:
            raise
    finally:
        signals.only_count()
        if signals.count:
            print("Stopping the hub and the agents. (Once more to stop at once.)", file=sys.stderr)
        processes.stop()
    return 0


def _say(text: str) -> None:
    print(text, flush=True)


def _check(options: Options) -> None:
    """Find out now what would otherwise fail after minutes.

    Raises:
        DemoError: the port is in use, or DATA or TEST cannot be used.
        BaseWeightsError: VGG16's weights are nowhere to be found.
    """
    if not ports.is_free(LOOPBACK, options.port):
        raise DemoError(
            ports.in_use(options.port), f"End it, or choose another port: make demo PORT={options.port + 1}"
        )
    scans.check(options)
    if architectures.get(options.architecture).base == "vgg16":
        # Where they must be downloaded, that happens here and once, not in every agent.
        _say(f"VGG16 base weights: {find_base_weights(_base_weights())[0]}")


def _base_weights() -> Path | None:
    """Return where the VGG16 weights are said to lie: the settings do not know it before django.setup()."""
    given = os.environ.get("HOSPINTEL_BASE_WEIGHTS")
    return Path(given) if given else None


def _run(options: Options, processes: Processes) -> None:
    started = time.monotonic()
    _say(f"{options.hospitals} hospitals, {options.rounds} rounds of {options.epochs} epochs, {options.architecture}")
    prepared = scans.prepare(options)
    _say(f"scans: {prepared.description}" + (", drawn by this program" if options.data is None else ""))
    django.setup()
    from hospintel_site.demo import hub  # noqa: PLC0415 - models exist only after django.setup()

    hub.prepare(options)
    processes.start_hub()
    _say(f"hub: {processes.address}")
    passwords = {name: secrets.token_urlsafe(12) for name in ("admin", "doctor")}
    codes = hub.people_and_codes(options, passwords)
    for name, folder, code in zip(options.processes, prepared.hospitals, codes, strict=True):
        processes.enrol(name, code)
        processes.start_agent(name, folder)
    rounds = hub.watch(hub.start_run(options), options, processes, say=_say)
    head_digest = hub.save_model(options.folder / "global_model.h5", MODEL_SECONDS)
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


def _test_accuracy(options: Options, prepared: Prepared) -> float | None:
    """Return the final version's accuracy on the test scans, features and head computed here as anywhere else."""
    from hospintel_site.demo import hub  # noqa: PLC0415 - see _run

    if prepared.test is None:
        return None
    architecture = architectures.get(options.architecture)
    with open_dataset(prepared.test, architectures.CLASSES) as dataset:
        _say(f"testing the final version on {len(dataset.scans)} scans")
        found = extract(dataset, architecture, lambda: load_backbone(architecture, _base_weights()))
    return evaluate_head(architecture, hub.final_head(architecture), found.features, found.labels).accuracy
