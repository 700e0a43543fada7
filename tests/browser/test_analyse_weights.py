"""Weights arrive in the page as they left Python, in every number of bits."""

import base64
import zlib

import numpy as np
import pytest
from playwright.sync_api import Page
from portal import Window, opened

from hospintel_core import browser

READ = """async ([text, isDeflated]) => {
  const { inflated, readArrays } = await import("/static/js/analyse/weights.js");
  const { buffer } = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const arrays = readArrays(isDeflated ? await inflated(buffer) : buffer);
  return Object.entries(arrays).map(([name, { values, shape }]) => [name, Array.from(values), shape]);
}"""


@pytest.fixture
def page(window: Window) -> Page:
    """The page, open for a doctor."""
    return opened(window, "dora", "/analyse/")


@pytest.mark.parametrize("bits", browser.BITS)
def test_the_page_reads_the_numbers_that_python_packed(page: Page, bits: int) -> None:
    rng = np.random.default_rng(bits)
    base = [rng.standard_t(4, shape).astype(np.float32) for shape in ((3, 3, 3, 64), (64,), (3, 3, 64, 64), (64,))]
    packed = browser.pack_base(base, bits)
    wanted = browser.unpack(packed if bits == browser.FINE else zlib.decompress(packed))
    found = page.evaluate(READ, [base64.b64encode(packed).decode(), bits < browser.FINE])
    assert {name for name, _, _ in found} == set(wanted)
    for name, values, shape in found:
        assert tuple(shape) == wanted[name].shape
        assert np.array_equal(np.float32(values).reshape(shape), wanted[name]), name
