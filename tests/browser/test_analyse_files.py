"""What the page reads by itself and what it leaves to the hub: DICOM of every encoding, and files that mean no good."""

import base64
from pathlib import Path

import numpy as np
import pytest
from dicom_files import compressed, dataset, encode, ramp
from playwright.sync_api import Page, expect
from portal import Window, opened
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from test_intake_hostile import FILES

from hospintel_core import imaging

COMPRESSIONS = ("JPEGLosslessProcess14_1", "JPEGLSLossless", "JPEG2000Lossless", "RLELossless")
# The picture as the page draws it, after its own decoder or the hub's.
DRAWN = """() => {
  const canvas = document.getElementById("picture");
  const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
  let text = "";
  for (let at = 0; at < data.length; at += 4) text += String.fromCharCode(data[at], data[at + 1], data[at + 2]);
  return [canvas.height, canvas.width, btoa(text)];
}"""
# In the page a text chunk is stepped over, whatever is packed in it.
READ = {"PNG with a text bomb"}
# Told by the header, before anything of the picture is looked at.
COMPRESSED = "dicom_compressed"


@pytest.fixture
def page(window: Window) -> Page:
    """The page, open for a doctor."""
    return opened(window, "dora", "/analyse/")


def choose(page: Page, path: Path) -> str:
    """Choose a file and return the code of the refusal; empty if it was read."""
    page.evaluate("document.getElementById('scan-error').replaceChildren()")
    page.set_input_files("#scan", path)
    expect(page.locator("#scan-error p, #result:not([hidden]) #said").first).to_be_attached()
    line = page.locator("#scan-error p")
    if not line.count():
        return ""
    # A sentence, not a trace of the program.
    assert str(line.inner_text()).endswith(".")
    return str(line.get_attribute("data-code"))


def assert_drawn(page: Page, data: bytes) -> None:
    """The picture on the page is the one that Python reads, within a grey level."""
    height, width, text = page.evaluate(DRAWN)
    found = np.frombuffer(base64.b64decode(text), np.uint8).reshape(height, width, 3)
    wanted = np.asarray(imaging.read_scan(data))
    assert found.shape == wanted.shape
    assert np.abs(found.astype(int) - wanted).max() <= 1


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian])
def test_an_uncompressed_dicom_file_is_read_in_the_page(page: Page, tmp_path: Path, syntax: str) -> None:
    data = encode(dataset(ramp(), stored=12, syntax=syntax))
    path = tmp_path / "scan.dcm"
    path.write_bytes(data)
    assert choose(page, path) == ""
    expect(page.locator("#notes")).to_contain_text("in this browser")
    assert_drawn(page, data)


@pytest.mark.parametrize("syntax", COMPRESSIONS)
def test_a_compressed_one_is_left_to_the_hub(page: Page, tmp_path: Path, syntax: str) -> None:
    data = compressed(dataset(ramp(), stored=12), syntax, tmp_path)
    path = tmp_path / "scan.dcm"
    path.write_bytes(data)
    assert choose(page, path) == COMPRESSED
    page.get_by_role("button", name="Send this scan to the hub").click()
    expect(page.locator("#notes")).to_contain_text("on the hub")
    assert_drawn(page, data)


def test_files_that_mean_no_good_are_refused_with_a_sentence(page: Page, tmp_path: Path) -> None:
    found = {}
    for number, (name, (_, made)) in enumerate(FILES.items()):
        # The same name again would be no new choice to Chromium.
        path = tmp_path / f"scan{number}"
        path.write_bytes(made if isinstance(made, bytes) else made())
        found[name] = choose(page, path)
    wanted = {
        name: "" if name in READ else COMPRESSED if code == "dicom_undecodable" else code
        for name, (code, _) in FILES.items()
    }
    assert found == wanted


def test_who_was_signed_out_meanwhile_is_told(page: Page, tmp_path: Path) -> None:
    page.context.clear_cookies()
    path = tmp_path / "scan.dcm"
    path.write_bytes(encode(dataset(ramp(), stored=12)))
    assert choose(page, path) == "signed_out"
