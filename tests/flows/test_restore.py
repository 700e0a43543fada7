"""A hub's disk is lost while a round is open: from its backup, on an empty folder, the same model comes of it."""

import shutil
import signal
import subprocess
import sys
from pathlib import Path

import office
from harness import PATIENCE_SECONDS, Federation, Hub
from office import Office
from test_kills import frozen

from hospintel_core.checkpoint import Note
from tools.services import replace_database

ROOT = Path(__file__).resolve().parents[2]


def manage(hub: Hub, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "manage.py", *arguments],
        cwd=ROOT,
        env=hub.variables,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def client(*arguments: str | Path) -> None:
    """Call one of PostgreSQL's own programs."""
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False)
    assert done.returncode == 0, done.stderr


def back_up(hub: Hub) -> None:
    """As docs/operations.md says, and docs/deployment.md for PostgreSQL."""
    url = hub.variables.get("DATABASE_URL")
    if not url:
        manage(hub, "backup", str(hub.folder / "hub.tar"))
        return
    client("pg_dump", "--format=custom", "--exclude-table-data=*.django_session", f"--file={hub.folder}/hub.dump", url)
    shutil.copytree(hub.folder / "var/models", hub.folder / "models")


def restored_on_an_empty_folder(hub: Hub) -> None:
    """All that is left of the hub is the backup and the copy of its keys."""
    hub.power_off()
    hub.ask.close()
    var, lost = hub.folder / "var", hub.folder / "lost"
    var.rename(lost)
    var.mkdir(mode=0o700)
    if url := hub.variables.get("DATABASE_URL"):
        replace_database(url)
        shutil.copytree(hub.folder / "models", var / "models")
        client("pg_restore", "--clean", "--if-exists", "--no-owner", "-d", url, hub.folder / "hub.dump")
        said = manage(hub, "restore")
    else:
        said = manage(hub, "restore", str(hub.folder / "hub.tar"))
    assert "1 open rounds ended as FAILED(restored)" in said
    shutil.copytree(lost / "keys", var / "keys", dirs_exist_ok=True)
    hub.ask = Office(hub.variables)
    hub.start()


def seen(federation: Federation, hospital: str) -> int:
    """The entry up to which the hospital's agent has seen the hub's audit."""
    path = federation.hub.processes.home(hospital) / "checkpoint.json"
    return Note.from_line(path.read_text()).seq if path.exists() else 0


def test_an_open_round_is_tried_again_after_a_restore_and_agents_notice_the_older_audit(
    tmp_path: Path, scans: list[Path]
) -> None:
    hub = Hub(tmp_path)
    try:
        federation = Federation(hub, "lost", scans[:2])
        quick, slow = federation.hospitals
        federation.until_online()
        with frozen([hub.processes.process(slow).pid]):
            run = federation.run(rounds=1)
            federation.until(lambda: hub.ask(office.update_states, run) == ["ACCEPTED"], "one update is in")
            back_up(hub)
            backed_up = hub.ask(office.audit_end)
        (lost,) = federation.until_run_is("DONE", run)
        assert lost["state"] == "PUBLISHED"
        # It looks as soon as it begins; else at most once a minute.
        federation.signal(quick, signal.SIGTERM)
        federation.wait(quick)
        federation.start_agent(quick)
        federation.until(lambda: seen(federation, quick) > backed_up, "an agent has seen what the backup has not")
        federation.signal(quick, signal.SIGTERM)
        federation.wait(quick)

        restored_on_an_empty_folder(hub)
        federation.start_agent(quick)
        failed, again = federation.until_run_is("DONE", run)
        assert (failed["id"], failed["state"], failed["reason"]) == (lost["id"], "FAILED", "restored")
        assert (again["number"], again["attempt"], again["state"]) == (1, 2, "PUBLISHED")
        assert again["updates"] == [(quick, "CONSUMED"), (slow, "CONSUMED")]
        assert (again["version"], again["digest"]) == (lost["version"], lost["digest"])

        found = federation.until(lambda: hub.ask(office.contradictions), "the hub has been told")
        assert [name for name, _ in found] == [quick]
        (code,) = {code for _, code in found}
        assert code in {"audit_behind", "audit_forked"}
        assert f"({code})" in federation.log(quick)
        proof = hub.processes.home(quick) / "contradicted.jsonl"
        assert Note.from_line(proof.read_text()).seq > backed_up
        # The other hub can tell as well, from the same lines.
        checked = subprocess.run(
            [sys.executable, "manage.py", "verify_audit", "--checkpoint", str(proof)],
            cwd=ROOT,
            env=hub.variables,
            capture_output=True,
            text=True,
            timeout=PATIENCE_SECONDS,
            check=False,
        )
        assert checked.returncode == 1, checked.stdout
    finally:
        hub.close()
