#!/usr/bin/env python3
"""Take each guard out of a copy of the tree and see that its test fails: `python -m tools.guards [NUMBER...]`.

A guard is a line that keeps something wrong from happening. docs/reliability.md has the list for people.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SECONDS = 900
FAILED = 1
CORE, AUDIT, STEP, BENCH = "hospintel_core", "apps/audit", "apps/federation/pipeline", "apps/finetune/pipeline"


@dataclass(frozen=True)
class Guard:
    """What is guarded, the line, what stands there without it, and the test that fails then."""

    what: str
    file: str
    line: str
    without: str
    test: str


GUARDS = (
    Guard(
        "an update is signed by its agent",
        f"{CORE}/envelope.py",
        "            signing.verify(signing.DOMAIN_UPDATE, body, signature, sender)",
        "            pass",
        "tests/federation/test_hub_envelopes.py::test_a_flipped_bit_anywhere_is_refused",
    ),
    Guard(
        "an update names the key that it is signed with",
        f"{CORE}/envelope.py",
        "    if header.sig_kid != signing.key_id(sender):",
        "    if False:",
        "tests/federation/test_hub_envelopes.py::test_an_update_signed_by_an_unknown_key_is_refused",
    ),
    Guard(
        "an update was sealed within 15 minutes",
        f"{STEP}/receive.py",
        '("clock_skew", abs(now_ms - header.issued_ms) <= CLOCK_WINDOW_MS)',
        '("clock_skew", True)',
        "tests/federation/test_hub_envelopes.py::test_the_clocks_may_differ_by_fifteen_minutes",
    ),
    Guard(
        "an update starts from the round's model",
        f"{STEP}/receive.py",
        '("wrong_base", header.base_model.hex() == round_.base.digest)',
        '("wrong_base", True)',
        "tests/federation/test_hub_envelopes.py::test_a_header_that_does_not_fit_the_round_is_refused",
    ),
    Guard(
        "an update states no more samples than were enrolled",
        f"{STEP}/receive.py",
        '("num_samples_range", 1 <= header.num_samples <= agent.max_samples)',
        '("num_samples_range", True)',
        "tests/federation/test_hub_envelopes.py::test_a_number_of_samples_that_was_not_enrolled_is_refused",
    ),
    Guard(
        "an update is for the round to which it is uploaded",
        f"{STEP}/receive.py",
        "    if round_id is not None and header.round_id != round_id:",
        "    if False:",
        "tests/federation/test_hub_envelopes.py::test_an_update_sealed_for_another_round_is_refused",
    ),
    Guard(
        "uploaded bytes are those that were announced",
        f"{STEP}/parts.py",
        "        if hashlib.sha256(whole).hexdigest() != self.digest:",
        "        if False:",
        "tests/federation/test_hub_uploads.py::test_bytes_that_are_not_those_announced_are_refused_and_can_be_sent_again",
    ),
    Guard(
        "what is opened is what was received",
        f"{STEP}/inspect.py",
        "    if weights.digest(sealed) != update.digest:",
        "    if False:",
        "tests/federation/test_hub_bit_flips.py::test_each_flip_in_a_sealed_update_is_found_before_it_is_opened",
    ),
    Guard(
        "an update is screened before it counts",
        f"{STEP}/inspect.py",
        "    if findings:",
        "    if False:",
        "tests/federation/test_hub_inspection.py::test_a_norm_of_more_than_a_hundred_times_the_median_is_refused",
    ),
    Guard(
        "tensors are finite",
        f"{CORE}/weights.py",
        "        if not np.isfinite(array).all():",
        "        if False:",
        "tests/core/test_weights.py::test_values_that_are_not_finite_are_refused",
    ),
    Guard(
        "a stored model is the one with its digest",
        f"{STEP}/storage.py",
        "    if weights.digest(data) != digest:",
        "    if False:",
        "tests/federation/test_hub_bit_flips.py::test_each_flip_in_a_head_is_found_when_it_is_read",
    ),
    Guard(
        "a served model file is the one that was written",
        f"{STEP}/model_files.py",
        "    if found != written.sha256:",
        "    if False:",
        "tests/federation/test_hub_bit_flips.py"
        "::test_each_flip_in_a_model_file_is_found_before_it_is_served_and_it_is_written_again",
    ),
    Guard(
        "nobody trains from a model that was changed on the disk",
        f"{STEP}/open_round.py",
        " and _is_whole(run, federation.current)",
        "",
        "tests/federation/test_hub_bit_flips.py"
        "::test_nobody_trains_from_a_damaged_model_and_its_run_waits_until_it_is_restored",
    ),
    Guard(
        "a round opens only on a run that runs, from the model that is current",
        f"{STEP}/open_round.py",
        "    if not (running and current):",
        "    if False:",
        "tests/federation/test_hub_races.py::test_no_round_opens_on_a_run_that_was_aborted_meanwhile",
    ),
    Guard(
        "nothing is erased that an open round needs",
        f"{STEP}/finish.py",
        "    if round_.is_active:",
        "    if False:",
        "tests/federation/test_hub_retention.py::test_nothing_is_erased_while_the_round_is_active",
    ),
    Guard(
        "a round's key goes with its round",
        f"{STEP}/finish.py",
        "        keys.erase_round_key(round_id)",
        "        pass",
        "tests/federation/test_hub_retention.py"
        "::test_a_captured_upload_cannot_be_opened_after_its_round_with_everything_left_on_disk",
    ),
    Guard(
        "a state moves only as its table says",
        f"{AUDIT}/api.py",
        "    if target not in table.get(origin, frozenset()):",
        "    if False:",
        "tests/audit/test_advance.py::test_an_illegal_step_is_refused",
    ),
    Guard(
        "of two who move a row one does",
        f"{AUDIT}/api.py",
        "filter(pk=obj.pk, state=origin)",
        "filter(pk=obj.pk)",
        "tests/audit/test_advance.py::test_whoever_comes_second_gets_a_conflict",
    ),
    Guard(
        "an audit entry has the hash of its body",
        f"{AUDIT}/verify.py",
        '    if entry_hash(body) != row["entry_hash"]:',
        "    if False:",
        "tests/audit/test_tampering.py::test_each_kind_of_tampering_is_found_at_its_first_place",
    ),
    Guard(
        "a code enrols one agent",
        f"{STEP}/enrol.py",
        '        advance(row, CodeState.USED, actor=agent.actor, changes={"agent": agent}, visibility=own)',
        "        row.refresh_from_db()",
        "tests/federation/test_hub_enrolment.py::test_a_used_code_is_refused",
    ),
    Guard(
        "a write needs the lease that holds now",
        f"{BENCH}/lease.py",
        "    if held.update(until=now + duration()) != 1:",
        "    if held.update(until=now + duration()) < 0:",
        "tests/finetune/test_lease.py::test_a_write_of_who_lost_it_is_undone",
    ),
    Guard(
        "a worker that lost its job writes nothing more",
        f"{BENCH}/claim.py",
        "        if mine.update(seen_at=timezone.now(), **fields) != 1:",
        "        if mine.update(seen_at=timezone.now(), **fields) < 0:",
        "tests/finetune/test_jobs.py::test_a_job_done_again_after_its_worker_died_gives_the_same_head",
    ),
    Guard(
        "a step that killed three processes is begun no fourth time",
        f"{STEP}/attempts.py",
        "            if row.tries < MOST_TRIES:",
        "            if True:",
        "tests/federation/test_hub_attempts.py::test_a_step_that_killed_three_processes_is_begun_no_fourth_time",
    ),
    Guard(
        "of two workers one has a step",
        f"{STEP}/attempts.py",
        "            if not _is_free(row, now):",
        "            if False:",
        "tests/federation/test_hub_attempts.py::test_of_two_workers_one_has_it",
    ),
    Guard(
        "failpoints are for tests",
        f"{CORE}/failpoints.py",
        '    if environment.get(SWITCH) != "1" or not loopback:',
        "    if False:",
        "tests/core/test_failpoints.py::test_it_is_refused_without_the_switch",
    ),
)


@contextmanager
def copied() -> Iterator[Path]:
    """Give a copy of the tracked files, as they are now."""
    names = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout  # noqa: S607
    folder = Path(tempfile.mkdtemp(prefix="hospintel-guards-"))
    try:
        for name in filter(None, names.decode().split("\0")):
            if (ROOT / name).is_file():
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / name, folder / name)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def is_noticed(guard: Guard, folder: Path) -> bool:
    """Return whether the guard's test fails without it. Raises RuntimeError where it does not run."""
    path = folder / guard.file
    whole = path.read_text(encoding="utf-8")
    if whole.count(guard.line) != 1:
        raise RuntimeError(f"{guard.file} has {whole.count(guard.line)} times: {guard.line.strip()}")
    path.write_text(whole.replace(guard.line, guard.without), encoding="utf-8")
    try:
        return not passes({guard.test}, folder)
    finally:
        path.write_text(whole, encoding="utf-8")


def passes(tests: set[str], folder: Path) -> bool:
    """Return whether all of these tests pass in the copy. Raises RuntimeError where they do not run."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    done = subprocess.run(  # noqa: S603 - our own tests
        [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *sorted(tests)],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    # An interpreter without pytest ends with 1 too.
    if done.returncode not in {0, FAILED} or (done.returncode == FAILED and " failed" not in done.stdout):
        raise RuntimeError(f"{tests} do not run:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done.returncode == 0


def main() -> int:
    """Try the guards whose numbers are given, or all. Returns 1 where the lack of one was not noticed."""
    chosen = [int(word) for word in sys.argv[1:]] or range(1, len(GUARDS) + 1)
    missed = 0
    with copied() as folder:
        if not passes({GUARDS[number - 1].test for number in chosen}, folder):
            print("With all guards in their places the tests do not pass.", file=sys.stderr)
            return 1
        for number in chosen:
            guard = GUARDS[number - 1]
            noticed = is_noticed(guard, folder)
            missed += not noticed
            print(f"{number:2} {'noticed' if noticed else 'NOT NOTICED'}: {guard.what}", flush=True)
    print(f"{len(chosen) - missed} of {len(chosen)} noticed")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
