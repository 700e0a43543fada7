"""A doctor hands in a model and watches what becomes of it, without reloading the page."""

from pathlib import Path

import front_desk
import pytest
from harness import Hub
from playwright.sync_api import Page, expect
from portal import Window, sign_in


@pytest.fixture
def model(tmp_path: Path, hub: Hub) -> Path:
    """The current model, trained a little further."""
    path = tmp_path / "retrained.h5"
    hub.ask(front_desk.train_further, str(path))
    return path


def hand_in(page: Page, path: Path, note: str = "") -> None:
    page.set_input_files("#upload-file", path)
    page.fill("#upload-note", note)
    page.click("#upload")


def test_a_model_is_handed_in_and_its_fate_is_told_live(window: Window, model: Path) -> None:
    page = window().new_page()
    sign_in(page, "dora")
    page.goto("/models/")
    page.click("text=Upload a model")
    expect(page.locator("h1")).to_have_text("Upload a model")

    hand_in(page, model, "two more epochs")
    expect(page.locator("#upload-error")).to_contain_text("You do not have the fine-tuning lease")
    expect(page.locator("#upload-note")).to_have_value("two more epochs")

    page.click("#take-lease")
    expect(page.locator("#upload-lease")).to_contain_text("You have the fine-tuning lease")
    hand_in(page, model, "two more epochs")
    expect(page.locator("text=The model is here.")).to_be_visible()
    first = page.locator("#uploads-table tbody tr").first
    expect(first).to_contain_text("Proposed")
    expect(first).to_contain_text("proposed by dora")

    broken = model.with_name("broken.h5")
    broken.write_bytes(model.read_bytes()[:5000])
    hand_in(page, broken)
    expect(first).to_contain_text("Refused")
    expect(first).to_contain_text("not a readable Keras model")

    page.click("#release-lease")
    expect(page.locator("#upload-lease")).to_contain_text("Nobody has the fine-tuning lease")


def test_a_file_that_is_too_large_is_not_sent(window: Window, tmp_path: Path) -> None:
    page, path = window().new_page(), tmp_path / "large.h5"
    with path.open("wb") as file:
        file.truncate((128 << 20) + 1)
    sign_in(page, "dora")
    page.goto("/models/upload/")
    page.set_input_files("#upload-file", path)
    assert (
        page.locator("#upload-file").evaluate("field => field.validationMessage") == "The file is larger than 128 MB."
    )
    sent: list[str] = []
    page.on("request", lambda request: sent.append(request.method))
    page.click("#upload")
    assert "POST" not in sent
