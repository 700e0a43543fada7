"""The scene of the matrix, built once a process; tests work on copies."""

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hub_driver import empty_queue
from scene import Scene, build_scene
from world import Snapshot, take_snapshot

from apps.audit.denials import forget_denials

Scenes = Callable[[], AbstractContextManager[Scene]]
# Sessions end some minutes after a person's last step: the scene's people take one every so often.
SIGN_IN_SECONDS = 60
_signed_in: dict[Path, float] = {}


@pytest.fixture(scope="session")
def scene_snapshot(
    django_db_setup: None, django_db_blocker: Any, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Snapshot]:
    """The scene, to be copied."""
    with django_db_blocker.unblock(), take_snapshot(tmp_path_factory.mktemp("scene"), build_scene) as taken:
        yield taken


@pytest.fixture
def scenes(scene_snapshot: Snapshot, django_db_blocker: Any, settings: Any, tmp_path: Path) -> Scenes:
    """Give a hub of its own to whoever asks, but for the keys."""
    numbers = count()
    if time.monotonic() > _signed_in.get(scene_snapshot.folder, 0.0) + SIGN_IN_SECONDS:
        with django_db_blocker.unblock(), scene_snapshot.opened() as scene:
            scene.sign_in_again()
        _signed_in[scene_snapshot.folder] = time.monotonic()

    @contextmanager
    def fresh() -> Iterator[Scene]:
        folder = tmp_path / str(next(numbers))
        empty_queue()
        settings.KEYS = scene_snapshot.folder / "keys"
        settings.MODEL_DIR, settings.UPLOAD_DIR = folder / "models", folder / "uploads"
        with django_db_blocker.unblock(), scene_snapshot.restored(folder) as restored:
            yield restored
        forget_denials()
        shutil.rmtree(folder)

    return fresh


@pytest.fixture
def scene(scenes: Scenes) -> Iterator[Scene]:
    """One of them."""
    with scenes() as made:
        yield made
