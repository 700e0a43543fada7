"""docs/architecture.md speaks of the tree as it is."""

import re
from pathlib import Path

import pytest

from apps.federation import states
from apps.federation.tasks import STEPS

ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / "docs" / "architecture.md").read_text()
PATHS = sorted(set(re.findall(r"`([\w./]+(?:/|\.(?:py|js|md)))`", TEXT)))
LINKS = sorted(set(re.findall(r"\]\(([^)#:]+)\)", TEXT)))


def test_it_names_paths():
    assert len(PATHS) > 40


@pytest.mark.parametrize("path", PATHS)
def test_every_path_is_there(path):
    assert (ROOT / path).exists()


@pytest.mark.parametrize("link", LINKS)
def test_every_link_leads_somewhere(link):
    assert (ROOT / "docs" / link).exists()


def arrows(name):
    block = re.search(rf'state "{name}" as \w {{\n(.*?)\n  }}', TEXT, re.DOTALL)
    return {tuple(line.split(" --> ")) for line in map(str.strip, block[1].splitlines()) if "[*]" not in line}


@pytest.mark.parametrize(
    ("name", "transitions"),
    [
        ("Round", states.ROUND_TRANSITIONS),
        ("Run", states.RUN_TRANSITIONS),
        ("ModelVersion", states.VERSION_TRANSITIONS),
        ("Update", states.UPDATE_TRANSITIONS),
    ],
)
def test_the_states_move_as_drawn(name, transitions):
    assert arrows(name) == {(start.value, end.value) for start, ends in transitions.items() for end in ends}


def test_every_step_of_a_round_has_its_place():
    for step in set(STEPS) - {"finish_run", "write_model", "export_model", "verify_audit"}:
        assert re.search(rf"\b{step}(_round)?\b", TEXT), step


def test_every_file_of_the_pipeline_is_named():
    helpers = {
        "__init__",
        "bootstrap",
        "configure",
        "decide",
        "keys",
        "model_files",
        "revoke",
        "runs",
        "storage",
        "write_model",
        "export_model",
    }
    files = {path.stem for path in (ROOT / "apps/federation/pipeline").glob("*.py")} - helpers
    named = {Path(path).stem for path in PATHS}
    assert files - named <= {"verify_audit"}
