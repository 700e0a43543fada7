"""From a one-time code to an accepted update, through TLS with a certificate of `manage.py make_test_cert`."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness import Federation, Hub, environment

from hospintel_site.demo.errors import DemoError
from hospintel_site.demo.processes import ROOT


@pytest.fixture
def authority(tmp_path: Path) -> Path:
    """The trial authority; beside it lie the hub's certificate and key."""
    folder = tmp_path / "tls"
    command = [sys.executable, "manage.py", "make_test_cert", "--out", str(folder)]
    subprocess.run(command, cwd=ROOT, env=environment(tmp_path), check=True, capture_output=True)
    return folder / "ca.pem"


@pytest.fixture
def secure_hub(tmp_path: Path, authority: Path) -> Iterator[Hub]:
    """A hub that speaks TLS only."""
    folder = authority.parent
    files = {"HOSPINTEL_TLS_CERT": str(folder / "cert.pem"), "HOSPINTEL_TLS_KEY": str(folder / "key.pem")}
    hub = Hub(tmp_path, **files)
    yield hub
    hub.close()


def test_an_agent_enrols_and_trains_through_tls_once_it_is_given_the_authority(
    secure_hub: Hub, authority: Path, scans: list[Path]
) -> None:
    assert secure_hub.processes.address.startswith("https://")
    with pytest.raises(DemoError, match="tls_untrusted"):
        Federation(secure_hub, "stranger", scans[:1])
    federation = Federation(secure_hub, "trial", scans[:1], enrol=("--ca", str(authority)))
    (round_,) = federation.until_run_is("DONE", federation.run(rounds=1))
    assert round_["updates"] == [(federation.hospitals[0], "CONSUMED")]
