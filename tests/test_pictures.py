"""The pictures in docs/images/ are those that docs/portal.md shows, and they stay small."""

import re
from pathlib import Path

from PIL import Image

DOCS = Path(__file__).resolve().parents[1] / "docs"
SHOWN = set(re.findall(r"\]\(images/([\w-]+\.png)\)", (DOCS / "portal.md").read_text()))
MOST_BYTES = 8_000_000


def test_every_picture_is_shown_and_every_shown_one_is_there():
    assert {path.name for path in (DOCS / "images").iterdir()} == SHOWN
    assert len(SHOWN) > 40


def test_the_pictures_are_wide_and_narrow_and_together_small():
    widths = {}
    for name in SHOWN:
        with Image.open(DOCS / "images" / name) as picture:
            widths[name] = picture.width
    assert {name: width for name, width in widths.items() if width != (390 if "-narrow" in name else 1280)} == {}
    assert sum((DOCS / "images" / name).stat().st_size for name in SHOWN) < MOST_BYTES


def test_each_page_is_shown_in_both_themes():
    light = {name.replace("-light-", "-") for name in SHOWN if "-light-" in name}
    dark = {name.replace("-dark-", "-") for name in SHOWN if "-dark-" in name}
    assert {name.split("-")[0] for name in light - dark} == {"docs", "redoc"}
    assert dark <= light
