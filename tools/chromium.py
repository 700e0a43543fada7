"""Where Chromium is: for the tests of the pages, and for their pictures."""

import os
import shutil

# The first is the same engine without a browser's windows around it, in three quarters of the time.
NAMES = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")


def find_chromium() -> str | None:
    """Return the path of HOSPINTEL_TEST_CHROMIUM, else of the first name that is on PATH, if any is."""
    return os.environ.get("HOSPINTEL_TEST_CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
