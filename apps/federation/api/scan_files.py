"""Scans that people send: what the calls that take them say in the OpenAPI document, and when nothing was taken."""

from typing import Any

from apps.federation.pipeline.incoming import Added
from apps.federation.pipeline.step import Refusal

UNREADABLE = "image_format image_mismatch image_unreadable image_too_large conflicting_label"
_FIELDS: dict[str, Any] = {
    "file": {
        "type": "array",
        "items": {"type": "string", "format": "binary"},
        "description": "PNG, JPEG or DICOM scans, or zip files of them with class folders; the field may be repeated.",
    },
    "class_name": {"type": "string", "description": "The class of the files that no folder names; may be left out."},
}


def files_form(**more: str) -> dict[str, Any]:
    """Return the form of a call that takes scans; `more`: further text fields, with what they are."""
    fields = {**_FIELDS, **{name: {"type": "string", "description": text} for name, text in more.items()}}
    return {"multipart/form-data": {"type": "object", "properties": fields, "required": ["file"]}}


def told(added: Added) -> dict[str, list[dict[str, Any]]]:
    """Return what is told of files that were no new scans.

    Raises Refusal (422), with the first file's code, where none could be taken.
    """
    refused = [vars(problem) for problem in added.refused]
    if refused and not (added.scans or added.copies):
        first = added.refused[0]
        raise Refusal(first.code, first.detail, 422, refused=refused)
    return {"copies": [vars(copy) for copy in added.copies], "refused": refused}
