"""One scan is read in the page: what comes out is what our Python computes, and nothing of the scan leaves the page."""

import io
import re
from collections.abc import Callable
from typing import Any

import front_desk
import numpy as np
import office
import pytest
from harness import Hub
from PIL import Image
from playwright.sync_api import Page, Request, expect
from portal import Window, opened, sign_in
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian, MRImageStorage, RLELossless, generate_uid
from test_every_page import PHONE, findings, focus_by_tab

from hospintel_core import phantoms

# Reads a scan in the page's own worker and returns what that says.
READ = """bytes => new Promise((resolve, reject) => {
  const place = document.getElementById("analyse");
  const worker = new Worker(place.dataset.worker, { type: "module" });
  worker.addEventListener("error", (event) => reject(new Error(event.message)));
  worker.addEventListener("message", ({ data }) => {
    if (data.kind === "stage") return;
    worker.terminate();
    if (data.kind === "error") resolve({ code: data.code });
    else {
      const { probabilities, pixels, maps } = data;
      resolve({ probabilities, pixels: Array.from(pixels), maps: maps.map((map) => Array.from(map)) });
    }
  });
  const url = new URL(place.dataset.model, window.location).href;
  worker.postMessage({ id: 1, bytes: Uint8Array.from(bytes).buffer, url });
})"""


# Not /static/js/analyse/: the page's own programs may still be on their way.
CALLS = re.compile(r"^https?://[^/]+/analyse/")
# Drops files on the page, as from the desktop.
DROP = """count => {
  const dropped = new DataTransfer();
  for (let number = 0; number < count; number += 1) dropped.items.add(new File(["x"], `scan${number}.png`));
  document.getElementById("drop").dispatchEvent(new DragEvent("drop", { dataTransfer: dropped, bubbles: true }));
}"""


def picture(label: int = 0, size: int = 224) -> Image.Image:
    """A synthetic scan."""
    return phantoms.draw(label, np.random.default_rng(label), size)


def saved(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    """The image as a file."""
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def choose(page: Page, data: bytes) -> None:
    """Choose a scan on the page."""
    page.set_input_files("#scan", {"name": "scan.png", "mimeType": "image/png", "buffer": data})


def shown(page: Page) -> list[float]:
    """The probabilities on the page, in percent."""
    cells = page.locator("#probabilities tbody td").all_inner_texts()
    return [float(re.findall(r"[\d.]+", text)[0]) for text in cells]


@pytest.fixture
def page(window: Window) -> Page:
    """The page, open for a doctor."""
    return opened(window, "dora", "/analyse/")


def test_a_scan_is_read_and_no_request_carries_it(page: Page, hub: Hub) -> None:
    requests: list[Request] = []
    page.on("request", lambda request: requests.append(request))  # noqa: PLW0108 - Playwright marks what it is given
    data = saved(picture())
    choose(page, data)
    expect(page.locator("#result")).to_be_visible()
    version, probabilities, _ = hub.ask(front_desk.read_scan, data)
    assert shown(page) == pytest.approx([100 * share for share in probabilities], abs=0.1)
    expect(page.locator("#notes")).to_contain_text(f"Read by version {version} ")
    expect(page.locator("#announce")).to_contain_text(re.compile(r"Result: \w+"))
    expect(page.locator("#file")).to_have_text("scan.png")
    expect(page.locator("#notes")).to_contain_text("Not calibrated")
    expect(page.locator("#notes")).to_contain_text("No domain check")
    expect(page.locator("main")).to_contain_text("Not a medical device")
    # All that was asked for: the worker's files, and the model.
    assert {request.method for request in requests} == {"GET"}
    assert [request.post_data_buffer for request in requests if request.post_data_buffer] == []
    asked = {
        request.url.partition("/analyse/")[2].partition("/")[0] for request in requests if "/static/" not in request.url
    }
    assert asked == {"model", "files"}


def test_the_map_can_be_hidden_by_keyboard(page: Page) -> None:
    choose(page, saved(picture()))
    expect(page.locator("#overlay")).to_be_visible()
    expect(page.locator("#map-text")).to_contain_text("Coarse: 16 x 16 fields")
    focus_by_tab(page, "#show-map")
    page.keyboard.press("Space")
    expect(page.locator("#overlay")).to_be_hidden()
    expect(page.locator("#legend")).to_be_hidden()
    page.keyboard.press("Space")
    expect(page.locator("#legend")).to_be_visible()


def test_a_result_is_printed_without_the_page_around_it(page: Page) -> None:
    choose(page, saved(picture()))
    expect(page.locator("#print")).to_be_visible()
    page.evaluate("window.print = () => { document.body.dataset.printed = 'yes'; }")
    page.locator("#print").click()
    expect(page.locator("body[data-printed]")).to_be_attached()
    page.emulate_media(media="print")
    for name in (".bar", "#scan", "#print", ".foot"):
        expect(page.locator(name)).to_be_hidden()
    for name in ("#said", "#probabilities", "#notes", "#picture", "#legend", "#file"):
        expect(page.locator(name)).to_be_visible()


# What stands under a result whose version is calibrated, or whose scan was compared with the validation set.
SAID = """async ([temperature, domain, no_domain]) => {
  const { announced, notes } = await import("/static/js/analyse/words.js");
  const classes = ["glioma", "notumor"];
  const model = { version: 3, digest: "0".repeat(64), classes, temperature, no_domain, base: {} };
  const result = { model, domain, probabilities: [0.2, 0.8], milliseconds: 900, byHub: false, isOffline: false };
  const said = notes(result, "now");
  return [announced(result), said[2].text, ...said.map(({ head, isWarning }) => isWarning ? `! ${head}` : head)];
}"""


@pytest.mark.parametrize(
    ("temperature", "domain", "why", "said", "text"),
    [
        (None, None, "no_set", ["Not calibrated.", "No domain check."], "no validation set"),
        (1.7, None, "few_scans", ["Calibrated.", "No domain check."], "fewer than 50 scans of a class"),
        (1.7, None, "prepared_before", ["Calibrated.", "No domain check."], "brings the set anew"),
        (1.7, {"unlike": False}, "", ["Calibrated.", "Domain checked."], "looks like"),
        (1.7, {"unlike": True}, "", ["Calibrated.", "! Outside the domain."], "does not look like"),
    ],
)
def test_calibration_and_domain_are_told(
    page: Page, temperature: float | None, domain: object, why: str, said: list[str], text: str
) -> None:
    announced, about_domain, *found = page.evaluate(SAID, [temperature, domain, why])
    assert text in about_domain
    assert found == ["Read by", *said, "Not a medical device."]
    assert announced.startswith("Result: No tumor, 80.0\N{NO-BREAK SPACE}%.")
    assert ("does not look like" in announced) == ("! Outside the domain." in said)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_result_has_nothing_grave_and_fits_a_phone(window: Window, theme: str) -> None:
    page = window(theme=theme, width=PHONE).new_page()
    sign_in(page, "dora")
    page.goto("/analyse/")
    choose(page, saved(picture(1)))
    expect(page.locator("#result")).to_be_visible()
    assert findings(page) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE


def _noise(shape: tuple[int, ...], dtype: type = np.uint8) -> Any:
    return np.random.default_rng(1).integers(0, np.iinfo(dtype).max, shape, dtype)


def _turned(kind: str, orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return saved(picture(3).resize((90, 64)), kind, exif=exif)


def _palette(**options: Any) -> bytes:
    return saved(Image.fromarray(_noise((40, 50, 3))).quantize(60), **options)


def dicom(syntax: str = ExplicitVRLittleEndian, **elements: Any) -> bytes:
    """A slice of 12 bits as a scanner writes it."""
    found = Dataset()
    found.file_meta = FileMetaDataset()
    found.file_meta.TransferSyntaxUID = syntax
    found.file_meta.MediaStorageSOPClassUID = found.SOPClassUID = MRImageStorage
    found.file_meta.MediaStorageSOPInstanceUID = found.SOPInstanceUID = generate_uid()
    found.PatientName = "Nobody"
    pixels = np.asarray(picture(1, 60)).astype(np.uint16) * 15
    found.Rows, found.Columns = pixels.shape
    found.SamplesPerPixel, found.PhotometricInterpretation, found.PixelRepresentation = 1, "MONOCHROME2", 0
    found.BitsAllocated, found.BitsStored, found.HighBit = 16, 12, 11
    found.add_new("PixelData", "OW", pixels.tobytes())
    for keyword, value in elements.items():
        setattr(found, keyword, value)
    if syntax == RLELossless:
        found.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        found.compress(RLELossless)
    file = io.BytesIO()
    found.save_as(file, enforce_file_format=True)
    return file.getvalue()


def _table() -> Dataset:
    found = Dataset()
    found.LUTDescriptor = [300, 500, 10]
    found.add_new("LUTData", "OW", (np.arange(300, dtype="<u2") * 7 % 1024).tobytes())
    return found


# Every kind of file that hospital systems write, and some that they do not.
KINDS: dict[str, Callable[[], bytes]] = {
    "grey": lambda: saved(picture(2)),
    "large grey": lambda: saved(picture(2, 512)),
    "small grey": lambda: saved(picture(2, 12)),
    "rgb": lambda: saved(Image.fromarray(_noise((70, 33, 3)))),
    "rgba": lambda: saved(Image.fromarray(_noise((70, 33, 4)))),
    "grey with alpha": lambda: saved(Image.fromarray(_noise((31, 40, 2)), "LA")),
    "one bit": lambda: saved(Image.fromarray(_noise((37, 41))).convert("1")),
    "palette": _palette,
    "palette of 4 bits": lambda: saved(Image.fromarray(_noise((40, 50, 3))).quantize(11), bits=4),
    "palette with transparency": lambda: _palette(transparency=7),
    "12 of 16 bits": lambda: saved(Image.fromarray(_noise((60, 60), np.uint16) >> 4)),
    "16 bits": lambda: saved(Image.fromarray(_noise((60, 60), np.uint16))),
    **{f"turned png {n}": lambda n=n: _turned("PNG", n) for n in (3, 6)},
    **{f"turned jpeg {n}": lambda n=n: _turned("JPEG", n) for n in range(1, 9)},
    "jpeg": lambda: saved(picture(1), "JPEG", quality=90),
    "colour jpeg": lambda: saved(Image.fromarray(_noise((96, 96, 3))), "JPEG", quality=85),
    "progressive jpeg": lambda: saved(picture(1).convert("RGB"), "JPEG", progressive=True),
    "dicom": dicom,
    "dicom without kinds": lambda: dicom(ImplicitVRLittleEndian),
    "dicom with a window": lambda: dicom(WindowCenter=1200, WindowWidth=1500, RescaleSlope=2, RescaleIntercept=-100),
    "inverted dicom": lambda: dicom(PhotometricInterpretation="MONOCHROME1", PixelPaddingValue=0),
    "dicom with half a padding": lambda: dicom(PixelPaddingValue=None, PixelPaddingRangeLimit=900),
    "dicom with a range of padding": lambda: dicom(PixelPaddingValue=0, PixelPaddingRangeLimit=900),
    "dicom with a soft window": lambda: dicom(WindowCenter=900, WindowWidth=700, VOILUTFunction="SIGMOID"),
    "signed dicom": lambda: dicom(PixelRepresentation=1, RescaleSlope="0.5", RescaleIntercept="3.25"),
    "dicom with a table": lambda: dicom(VOILUTSequence=[_table()]),
    "jpeg with a profile": lambda: saved(picture(1).convert("RGB"), "JPEG", icc_profile=b"no profile at all"),
}


def test_the_page_sees_the_same_pixels_as_python(page: Page, hub: Hub) -> None:
    for name, make in KINDS.items():
        data = make()
        found = page.evaluate(READ, list(data))
        _, probabilities, pixels = hub.ask(front_desk.read_scan, data)
        assert "code" not in found, (name, found)
        worst = np.abs(np.array(found["pixels"]) - np.array(pixels)).max()
        assert worst <= ("jpeg" in name), (name, worst)
        assert np.abs(np.array(found["probabilities"]) - probabilities).max() < 0.01, name


PNG = saved(Image.fromarray(_noise((20, 20))))
JPEG = saved(picture(1), "JPEG")
WRONG: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", "image_empty"),
    "a text": (b"This is not an image.", "image_format"),
    "a gif": (saved(picture(), "GIF"), "image_format"),
    "the head of a png": (PNG[:8], "image_unreadable"),
    "half a png": (PNG[: len(PNG) // 2], "image_unreadable"),
    "a damaged png": (PNG[:60] + b"\0\0\0\0" + PNG[64:], "image_unreadable"),
    "half a jpeg": (JPEG[: len(JPEG) // 2], "image_unreadable"),
    "the head of a jpeg": (JPEG[:20], "image_unreadable"),
    "a compressed dicom": (dicom(RLELossless), "dicom_compressed"),
    "a dicom of several slices": (dicom(NumberOfFrames=2), "dicom_frames"),
    "half a dicom": (dicom()[:2000], "dicom_damaged"),
    "an animated png": (saved(picture(), save_all=True, append_images=[picture(1)]), "image_frames"),
    "a jpeg of many passes": (JPEG[:-2] + b"\xff\xda" * 101 + JPEG[-2:], "image_unreadable"),
    "an enormous png": (saved(Image.new("1", (6000, 5000))), "image_too_large"),
    "a jpeg in the colours of print": (saved(Image.fromarray(_noise((20, 20, 4)), "CMYK"), "JPEG"), "image_colours"),
}


def test_what_is_no_scan_is_told_by_its_code(page: Page) -> None:
    assert {name: page.evaluate(READ, list(data)) for name, (data, _) in WRONG.items()} == {
        name: {"code": code} for name, (_, code) in WRONG.items()
    }


def test_an_error_stands_beside_the_field_and_the_next_scan_is_read(page: Page) -> None:
    choose(page, b"This is not an image.")
    expect(page.locator("#scan-error [data-code=image_format]")).to_be_visible()
    # The hub could not read it either.
    expect(page.locator("#on-hub")).to_be_hidden()
    assert findings(page) == []
    page.evaluate(DROP, 2)
    expect(page.locator("#scan-error [data-code=one_scan]")).to_be_visible()
    expect(page.locator("#on-hub")).to_be_hidden()
    page.evaluate(DROP, 1)
    expect(page.locator("#scan-error [data-code=image_format]")).to_be_visible()
    assert page.evaluate("document.getElementById('scan').files[0].name") == "scan0.png"
    choose(page, saved(picture()))
    expect(page.locator("#result")).to_be_visible()
    expect(page.locator("#scan-error")).to_be_empty()


def test_a_model_that_is_not_what_the_hub_named_computes_nothing(page: Page) -> None:
    page.route("**/analyse/files/*", lambda route: route.fulfill(body=b"\x08" + bytes(7) + b"{}      "))
    choose(page, saved(picture()))
    expect(page.locator("#scan-error [data-code=model_digest]")).to_be_visible()
    expect(page.locator("#result")).to_be_hidden()


def test_the_model_is_fetched_once(page: Page) -> None:
    choose(page, saved(picture()))
    expect(page.locator("#result")).to_be_visible()
    page.reload()
    requests: list[Request] = []
    page.on("request", lambda request: requests.append(request))  # noqa: PLW0108 - Playwright marks what it is given
    choose(page, saved(picture()))
    expect(page.locator("#result")).to_be_visible()
    assert [request.url for request in requests if "/analyse/files/" in request.url] == []


def test_web_assembly_may_run_on_this_page_alone(page: Page, address: str) -> None:
    policies = {
        path: str(page.request.get(path).headers["content-security-policy"])
        for path in ("/", "/models/", "/analyse/", "/static/js/analyse/worker.js", "/static/js/live.js")
    }
    allowed = {path for path, policy in policies.items() if "wasm-unsafe-eval" in policy}
    assert allowed == {"/analyse/", "/static/js/analyse/worker.js"}
    assert all("'unsafe-eval'" not in policy and "connect-src 'self'" in policy for policy in policies.values())


def test_the_hub_reads_a_scan_for_whoever_presses_the_button(page: Page, hub: Hub) -> None:
    data = saved(picture(3))
    choose(page, data)
    expect(page.locator("#notes")).to_contain_text("in this browser")
    expect(page.get_by_role("button", name="Send this scan to the hub")).to_be_hidden()
    page.get_by_text("Have the hub read it instead").click()
    here = page.locator("#probabilities tbody").inner_text()
    requests: list[Request] = []
    page.on("request", lambda request: requests.append(request))  # noqa: PLW0108 - Playwright marks what it is given
    page.get_by_role("button", name="Send this scan to the hub").click()
    expect(page.locator("#notes")).to_contain_text("on the hub, where nothing of the scan was kept")
    assert page.locator("#probabilities tbody").inner_text() == here
    assert findings(page) == []
    (sent,) = [request for request in requests if request.method == "POST"]
    body = sent.post_data_buffer or b""
    assert data[:64] not in body
    assert hub.ask(front_desk.what_is_left_of_readings) == []
    assert [event["facts"].get("size") for event in hub.ask(office.events, "reading.ask")] == [len(body)]
    assert [event["outcome"] for event in hub.ask(office.events, "reading.answer")] == ["ok"]


def test_the_hub_reads_a_compressed_dicom_file(page: Page, hub: Hub) -> None:
    data = dicom(RLELossless)
    choose(page, data)
    expect(page.locator("#scan-error [data-code=dicom_compressed]")).to_be_visible()
    page.get_by_role("button", name="Send this scan to the hub").click()
    expect(page.locator("#notes")).to_contain_text("on the hub")
    _, probabilities, _ = hub.ask(front_desk.read_scan, data)
    assert shown(page) == pytest.approx([100 * share for share in probabilities], abs=1)


def test_what_the_hub_cannot_read_is_told_beside_the_field(page: Page) -> None:
    choose(page, dicom(RLELossless)[:-200])
    expect(page.locator("#scan-error [data-code=dicom_compressed]")).to_be_visible()
    page.get_by_role("button", name="Send this scan to the hub").click()
    expect(page.locator("#scan-error [data-code=dicom_damaged]")).to_be_visible()
    expect(page.locator("#stage")).to_be_hidden()
    # It has tried.
    expect(page.locator("#on-hub")).to_be_hidden()


def _without_the_hub(page: Page, complaints: list[str]) -> Callable[[], None]:
    """Let no call reach the hub; what is returned undoes it, and expects the console to have told of nothing else."""
    page.route(CALLS, lambda route: route.abort("internetdisconnected"))

    def back() -> None:
        page.unroute(CALLS)
        assert all("ERR_INTERNET_DISCONNECTED" in told for told in complaints)
        complaints.clear()

    return back


def test_without_a_network_the_page_says_so_and_goes_on_when_it_is_back(page: Page, complaints: list[str]) -> None:
    back = _without_the_hub(page, complaints)
    choose(page, saved(picture()))
    expect(page.locator("#scan-error [data-code=hub_unreached]")).to_be_visible()
    expect(page.locator("#on-hub")).to_be_hidden()
    back()
    choose(page, saved(picture()))
    expect(page.locator("#result")).to_be_visible()


def test_a_model_that_the_page_knows_reads_without_a_network(page: Page, complaints: list[str]) -> None:
    choose(page, saved(picture()))
    expect(page.locator("#result")).to_be_visible()
    back = _without_the_hub(page, complaints)
    choose(page, saved(picture(1)))
    expect(page.locator("#notes")).to_contain_text("could not be asked whether it is still the current one")
    back()
