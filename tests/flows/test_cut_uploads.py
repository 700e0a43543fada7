"""Uploads are sent one to five times from eight threads, and the line breaks at any byte: each counts exactly once.

`make network` does so with 500.
"""

import bad_lines
import crowd
from harness import Hub

UPLOADS = 40


def test_uploads_cut_at_any_byte_and_sent_again_are_one_row_each(hub: Hub) -> None:
    uploads, told, round_id = bad_lines.upload_all(hub, UPLOADS, "cut-uploads")
    assert told.broken > UPLOADS // 4, "the line did break"
    # 409: the same bytes are arriving twice at once, which the sender is told and goes on from.
    assert set(told.statuses) <= {200, 202, 409}
    for (_, way), answers in told.answers.items():
        first = {"in_parts": 202, "whole": 200}[way]
        assert {(status, found.get("received")) for status, found in answers} == {
            (first, answers[0][1].get("received"))
        }
    rows = hub.ask(crowd.kept, round_id)
    assert sorted(digest for _, digest, _ in rows) == sorted(upload.digest for upload in uploads)
