"""Where the hub under test keeps its files, for tests that look into its folders or damage something there."""

from pathlib import Path

import pytest
from django.conf import settings

from apps.federation.pipeline import model_files, storage

# Of a file whose tests run twice, those that look into the folder.
in_folder = pytest.mark.parametrize("either", ["folder"], indirect=True)


def head_path(digest):
    return Path(settings.MODEL_DIR) / storage.head_name(digest)


def file_path(digest):
    return Path(settings.MODEL_DIR) / model_files.name_of(digest)


def sealed_path(update_id):
    return Path(settings.UPLOAD_DIR) / storage.sealed_name(update_id)


def part_path(round_id, agent_id, digest, offset=0):
    return Path(settings.UPLOAD_DIR) / "parts" / f"{round_id}-{agent_id}-{digest}-{offset:012d}.part"


def scan_path(vault, owner, scan_id):
    return Path(settings.UPLOAD_DIR) / vault.name(owner, scan_id)
