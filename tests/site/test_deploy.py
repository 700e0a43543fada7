"""compose.yaml, the Dockerfile and the units name what is there, and nothing that is not."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
SERVICES: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]
OURS = {name: service for name, service in SERVICES.items() if "build" in service}
UNITS = sorted((ROOT / "deploy/systemd").glob("*.service"))
SETTINGS = (ROOT / "hospintel_site/settings.py").read_text()


def test_every_process_of_the_hub_is_there():
    commands = {name: " ".join(service["command"]) for name, service in OURS.items()}
    assert commands == {
        "prepare": "python manage.py prepare",
        "web1": "python -m hospintel_site.server",
        "web2": "python -m hospintel_site.server",
        "default": "python -m hospintel_site.worker default",
        "training": "python -m hospintel_site.worker training",
        "tick": "python manage.py tick",
    }


@pytest.mark.parametrize("name", OURS)
def test_a_process_of_the_hub_may_do_no_more_than_it_must(name: str):
    service = OURS[name]
    assert service["read_only"]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert "privileged" not in service
    assert "ports" not in service
    assert [volume.partition(":")[0] for volume in service["volumes"]] == ["storage", "keys"]


@pytest.mark.parametrize("name", SERVICES)
def test_whether_it_is_well_is_asked_of_everything_that_stays(name: str):
    assert ("test" in SERVICES[name]["healthcheck"]) == (name != "prepare")
    image = SERVICES[name]["image"]
    assert re.search(r":\d+\.\d+|:\d+-", image), f"{image} may be another one tomorrow"


def test_every_setting_that_is_given_is_one():
    for service in OURS.values():
        for name in service["environment"]:
            assert f'"{name}"' in SETTINGS or f'secret("{name.removesuffix("_FILE")}")' in SETTINGS, name


def test_only_nginx_can_be_reached_from_outside():
    assert [name for name, service in SERVICES.items() if "ports" in service] == ["nginx"]


def test_what_the_image_is_made_of_is_there_and_reaches_it():
    dockerfile, kept = (ROOT / "Dockerfile").read_text(), (ROOT / ".dockerignore").read_text().splitlines()
    copied = re.findall(r"^COPY (?!--)(.+) \S+$", dockerfile, re.MULTILINE)
    for name in [one for line in copied for one in line.split()]:
        assert (ROOT / name).exists(), name
        assert f"!{name}" in kept, name
    assert "--require-hashes" in dockerfile
    assert "\nUSER hub\n" in dockerfile


@pytest.mark.parametrize("unit", UNITS, ids=lambda path: path.name)
def test_a_unit_starts_what_compose_does(unit: Path):
    (start,) = re.findall(r"^ExecStart=/opt/hospintel/\.venv/bin/(.+)$", unit.read_text(), re.MULTILINE)
    known = {" ".join(service["command"]) for service in OURS.values()}
    assert start.replace(" --port %i", "").replace("%i", "default") in known


def test_alerts_are_over_metrics_that_there_are():
    rules = (ROOT / "deploy/prometheus/hospintel.rules.yml").read_text()
    metrics = (ROOT / "hospintel_site/metrics.py").read_text()
    named = {re.sub("_(total|count)$", "", name) for name in re.findall(r"\bhospintel_(\w+)", rules)}
    assert [name for name in sorted(named) if not re.search(rf'"(hospintel_)?{name}"', metrics)] == []
    alerts = re.findall(r"alert: (\w+)", rules)
    told = re.findall(r"^\| (Hub\w+) \|", (ROOT / "docs/monitoring.md").read_text(), re.MULTILINE)
    assert sorted(told) == sorted(alerts)


def test_preparing_twice_is_as_preparing_once(tmp_path: Path):
    environment = {**os.environ, "HOSPINTEL_VAR": str(tmp_path / "var")}
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "manage.py", "prepare"],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
        assert (done.returncode, done.stdout) == (0, "prepared\n"), done.stderr
    next((tmp_path / "var/keys").glob("rsa-*.pem")).unlink()
    done = subprocess.run(
        [sys.executable, "manage.py", "prepare"], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "Restore the keys folder" in done.stderr
