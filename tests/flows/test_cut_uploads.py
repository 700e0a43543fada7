"""Uploads are sent one to five times from eight threads, and the line breaks at any byte: each counts exactly once."""

import crowd
import cut_uploads
import office
from fault_proxy import FaultProxy, Weather
from harness import Hub, eventually

UPLOADS = 40
BREAKING = Weather(cut=0.4, up=24_000, down=500, slices=4000)


def test_uploads_cut_at_any_byte_and_sent_again_are_one_row_each(hub: Hub) -> None:
    members = hub.ask(crowd.enrol, "cut-uploads", UPLOADS + 1)
    hub.ask(office.start_run, "cut-uploads", 1)
    port = hub.processes.port
    # The last one has been seen and sends nothing: the round stays open.
    manifest = eventually(lambda: cut_uploads.poll(port, "cut-uploads", members[-1]), "a round is open", hub.logs)
    uploads = [cut_uploads.seal(member, manifest) for member in members[:-1]]
    with FaultProxy(port, BREAKING, seed=11) as line:
        told = cut_uploads.send_all(uploads, line.port, seed=11)
    assert told.broken > UPLOADS // 4, "the line did break"
    assert {status for status in told.statuses if status >= 500} == set()
    assert set(told.statuses) <= {200, 202, 409}, told.statuses
    for (_, way), answers in told.answers.items():
        expected = 202 if way == "in_parts" else 200
        assert {status for status, _ in answers} == {expected}, answers
    rows = hub.ask(crowd.kept, str(manifest.round_id))
    assert sorted(digest for _, digest, _ in rows) == sorted(upload.digest for upload in uploads)
