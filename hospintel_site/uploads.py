"""Files of forms that are too large for memory: on disk without a name, so that a killed process leaves none behind.

Django's own handler gives each a name in the folder for temporary files, where the scan of a patient would stay.
"""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

from django.core.exceptions import BadRequest
from django.core.files.uploadedfile import UploadedFile
from django.core.files.uploadhandler import FileUploadHandler

from hospintel_site.bodies import room


class NoRoomError(BadRequest):
    """The disk of the folder for temporary files is full: 507, `hub_disk_full`."""


class UnnamedFileUploadHandler(FileUploadHandler):
    """Write a form's file into an unnamed temporary file, which is gone when it is closed."""

    file: "UploadedFile[bytes]"

    def new_file(self, *args: Any, **kwargs: Any) -> None:
        """Begin a file."""
        super().new_file(*args, **kwargs)
        with room(_no_room):
            self.content = tempfile.TemporaryFile()  # noqa: SIM115 - the request closes its files
        self.file = UploadedFile(
            self.content, self.file_name, self.content_type, 0, self.charset, self.content_type_extra
        )

    def receive_data_chunk(self, raw_data: bytes, start: int) -> None:  # noqa: ARG002 - Django's signature
        """Write a piece of it."""
        with self._written():
            self.file.write(raw_data)

    def file_complete(self, file_size: int) -> "UploadedFile[bytes]":
        """Return the whole, to be read from its beginning."""
        with self._written():
            self.file.seek(0)
        self.file.size = file_size
        return self.file

    @contextmanager
    def _written(self) -> Iterator[None]:
        try:
            with room(_no_room):
                yield
        except NoRoomError:
            # Closing the file would write what is in its buffer, and fail once more.
            self.content.raw.close()
            raise

    def upload_interrupted(self) -> None:
        """Let go of what has come so far."""
        if hasattr(self, "file"):
            self.file.close()


def _no_room() -> NoReturn:
    raise NoRoomError
