"""The audit's pages: what is found, who sees what of an entry, verifying, exporting, checkpoints to keep."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from django.conf import settings
from django.db import connection
from django.utils import timezone
from hub_client import HubClient, body

from apps.audit import export, guards
from apps.audit.api import deny, record, transaction
from apps.audit.models import AuditEntry, AuditHead, Checkpoint
from apps.federation.pipeline import attempts, checkpoint
from apps.federation.pipeline.verify_audit import PATIENCE, latest

TOOL = Path(settings.BASE_DIR) / "tools" / "verify_audit_export.py"


@pytest.fixture
def browser(cast):
    """Signs somebody in."""

    def sign_in(name):
        client = HubClient(headers={"Accept": "text/html"})
        client.force_login(getattr(cast, name))
        return client

    return sign_in


def shown(answer):
    """The numbers of the entries in the list."""
    table = answer.content.decode().partition("<tbody>")[2].partition("</tbody>")[0]
    return [int(row.partition('"')[0]) for row in table.split('<tr id="entry-')[1:]]


def minute():
    return timezone.now().strftime("%Y-%m-%dT%H:%M")


def numbers(**narrow):
    return list(AuditEntry.objects.filter(**narrow).order_by("-seq").values_list("seq", flat=True))


def happen(count, **fields):
    for number in range(count):
        with transaction():
            record("test.done", **{"actor": "system:test", "visibility": "admin", "number": number} | fields)


def test_an_administrator_finds_entries_by_what_they_are(hub, north, south, cast, browser):
    hub.open_round(north, south)
    hub.finish_honestly(north, south)
    deny("GET rounds", code="permission_denied", actor=cast.north_doctor.actor)
    deny("GET rounds", code="permission", actor=cast.south_doctor.actor)
    page = browser("admin")
    agent = AuditEntry.objects.filter(action="update.received").latest("seq").actor
    assert shown(page.get("/audit/", {"actor": agent})) == numbers(actor=agent)
    assert shown(page.get("/audit/", {"actor": "agent"})) == numbers(actor__startswith="agent:")
    assert shown(page.get("/audit/", {"actor": "NORTH_doctor"})) == numbers(actor=cast.north_doctor.actor)
    assert shown(page.get("/audit/", {"action": "round."})) == numbers(action__startswith="round.")
    assert shown(page.get("/audit/", {"outcome": "denied"})) == numbers(outcome="denied")
    assert shown(page.get("/audit/", {"code": "permission"})) == numbers(actor=cast.south_doctor.actor)
    assert shown(page.get("/audit/", {"code": "permission", "actor": cast.north_doctor.actor})) == []


def test_an_object_is_found_where_an_entry_only_names_it_besides_and_by_its_short_name(hub, browser):
    happen(1, obj="round:aaaa-1")
    happen(1, obj="update:bbbb-1", objects=["round:aaaa-1"])
    happen(1, obj="update:bbbb-2", objects=["round:aaaa-11"])
    page, (first, second, other) = browser("admin"), numbers(action="test.done")[::-1]
    assert shown(page.get("/audit/", {"object": "round:aaaa-1"})) == [second, first]
    assert shown(page.get("/audit/", {"object": "update bbbb"})) == [other, second]


def test_a_text_in_a_fact_is_not_taken_for_a_code(hub, browser):
    happen(1, note='"code":"stuck"', other="stuck")
    happen(1, code="stuck")
    assert shown(browser("admin").get("/audit/", {"code": "stuck"})) == numbers(action="test.done")[:1]


def test_entries_are_found_by_time(hub, browser, clock):
    clock.shift(3600)
    start = minute()
    happen(2)
    clock.shift(3600)
    end = minute()
    happen(1)
    page, (late, *within) = browser("admin"), numbers(action="test.done")
    found = {"action": "test.done", "start": start}
    assert shown(page.get("/audit/", found)) == [late, *within]
    assert shown(page.get("/audit/", found | {"end": end})) == within


def test_pages_of_fifty_lead_to_each_other_and_lose_nothing(hub, browser):
    happen(120)
    page, wanted = browser("admin"), numbers(action="test.done")
    first = page.get("/audit/", {"action": "test.done"})
    assert shown(first) == wanted[:50]
    second = page.get("/audit/?" + first.context["older"])
    third = page.get("/audit/?" + second.context["older"])
    assert [shown(second), shown(third)] == [wanted[50:100], wanted[100:]]
    assert (first.context["newer"], third.context["older"]) == ("", "")
    assert shown(page.get("/audit/?" + third.context["newer"])) == wanted[50:100]
    assert shown(page.get("/audit/?" + second.context["newer"])) == wanted[:50]


def test_a_filter_that_cannot_be_read_is_said(hub, browser):
    page = browser("admin")
    for query in ({"start": "yesterday"}, {"before": "9" * 30}, {"outcome": "odd"}, {"code": "x" * 61}):
        answer = page.get("/audit/", query)
        assert answer.status_code == 200
        assert "The filter could not be read" in answer.content.decode()
    # What no database takes, and what means something in a LIKE.
    for query in ({"actor": "\0"}, {"action": "%"}, {"code": "\\"}, {"object": '"'}):
        answer = page.get("/audit/", query)
        assert answer.status_code == 200
        assert shown(answer) == [] or "The filter could not be read" in answer.content.decode()


def test_nobody_finds_what_is_not_theirs_to_see(hub, north, south, cast, browser):
    hub.open_round(north, south)
    hub.finish_honestly(north, south)
    happen(1, visibility=cast.south.visibility, code="secret", obj="round:secret")
    page = browser("north_doctor")
    mine = numbers(visibility__in=["everyone", cast.north.visibility])
    assert shown(page.get("/audit/")) == mine[:50]
    for query in ({"code": "secret"}, {"object": "round:secret"}, {"action": "test.done"}, {"actor": "admin"}):
        assert shown(page.get("/audit/", query)) == []


def test_hashes_are_for_administrators(hub, browser):
    happen(1, visibility="everyone")
    entry = AuditEntry.objects.latest("seq")
    for name in ("admin", "north_doctor"):
        text = browser(name).get(f"/audit/{entry.seq}/").content.decode()
        assert "system:test" in text
        assert (entry.entry_hash in text) == (entry.prev_hash in text) == (name == "admin")
        assert ("&quot;prev&quot;" in text) == (name == "admin")


def test_the_hash_of_a_hidden_entry_is_not_found_by_trying(hub, browser):
    """Whoever guesses what a hidden entry says could see from the next one whether it is so."""
    happen(1)
    hidden = AuditEntry.objects.latest("seq").entry_hash
    happen(1, visibility="everyone")
    page = browser("north_doctor")
    for query in ({"object": hidden}, {"actor": hidden}):
        assert shown(page.get("/audit/", query)) == []


def test_an_entry_that_was_changed_says_so_on_its_page(hub, browser):
    happen(1)
    entry = AuditEntry.objects.latest("seq")
    page = browser("admin")
    assert "Does not hold" not in page.get(f"/audit/{entry.seq}/").content.decode()
    guards.remove(connection)
    AuditEntry.objects.filter(pk=entry.pk).update(actor="user:9")
    text = page.get(f"/audit/{entry.seq}/").content.decode()
    assert "Does not hold" in text
    assert "The column actor differs from the body" in text


def odd(**said):
    """A body with the hub's fields, of which some are of other types."""
    fields = {"seq": 1, "ts_us": 1, "action": "a.b", "actor": "user:1", "object": "", "objects": [], "facts": {}}
    return json.dumps(fields | {"outcome": "ok", "visibility": "admin"} | said).encode()


ODD = [odd(facts=[]), odd(facts=None), odd(objects=3), odd(actor=7), odd(object=None), odd(ts_us="1"), odd(seq="x")]
ODD += [odd(ts_us=10**30), odd(ts_us=-(10**18)), odd(actor="user:²"), odd(actor="user:" + "9" * 40)]


@pytest.mark.parametrize("broken", [b"{", b"[]", b"{}", b"\xff", b"[" * 100_000, *ODD])
def test_a_body_that_is_none_can_still_be_looked_at(hub, browser, broken):
    happen(1)
    seq = AuditHead.objects.get().seq
    guards.remove(connection)
    AuditEntry.objects.filter(pk=seq).update(body=broken, actor="agent:x", object="update:x")
    page = browser("admin")
    assert shown(page.get("/audit/"))[0] == seq
    assert "Does not hold" in page.get(f"/audit/{seq}/").content.decode()
    assert page.get("/").status_code == 200


def test_a_worker_verifies_and_the_page_tells_what_it_found(hub, north, south, browser):
    hub.open_round(north, south)
    hub.finish_honestly(north, south)
    page = browser("admin")
    asked = AuditHead.objects.get().seq + 1
    assert page.post("/audit/verify").status_code == 302
    assert f"{asked} entries are being verified" in page.get("/audit/").content.decode()
    # A second one is not queued behind the first.
    assert "is being verified" in page.post("/audit/verify", follow=True).content.decode()
    waiting = hub.queued()
    assert len(waiting) == 1
    hub.do(waiting)
    assert f"All {asked} verified entries hold; 1 is newer" in page.get("/audit/").content.decode()
    found = latest()
    assert (found.holds, found.entries, found.checkpoints) == (True, asked, Checkpoint.objects.count())
    hub.do(waiting)
    assert numbers(action="audit.verified") == [asked + 1]


def test_a_chain_that_does_not_hold_is_the_first_thing_on_the_page(hub, browser):
    happen(3)
    guards.remove(connection)
    bad = numbers(action="test.done")[1]
    AuditEntry.objects.filter(seq=bad).update(entry_hash="f" * 64)
    page = browser("admin")
    page.post("/audit/verify")
    hub.work()
    text = page.get("/audit/").content.decode()
    assert f"The audit does not hold at entry {bad}" in text
    assert "the body does not have the stored hash" in text
    assert AuditEntry.objects.get(action="audit.broken").outcome == "refused"


def test_a_checkpoint_that_somebody_put_there_does_not_keep_the_worker_from_saying_so(hub, browser):
    happen(2)
    Checkpoint.objects.create(seq=2, body=b"{", signature=b"", ts_us=2**62)
    page = browser("admin")
    for path in ("/audit/", "/admin/audit/checkpoint/", "/admin/audit/checkpoint/2/change/"):
        assert page.get(path).status_code == 200
    page.post("/audit/verify")
    hub.work()
    assert "The audit does not hold at entry 2" in page.get("/audit/").content.decode()


def test_an_answer_that_was_made_unreadable_does_not_say_that_all_holds(hub, browser):
    page = browser("admin")
    page.post("/audit/verify")
    hub.work()
    guards.remove(connection)
    seq = numbers(action="audit.verified")[0]
    AuditEntry.objects.filter(seq=seq).update(body=b"{")
    answer = page.get("/audit/")
    assert answer.status_code == 200
    assert f"The audit does not hold at entry {seq}" in answer.content.decode()


def test_a_verification_whose_worker_died_can_be_asked_for_again(hub, browser, clock):
    page = browser("admin")
    page.post("/audit/verify")
    hub.queued()
    clock.shift(PATIENCE)
    assert "has given no answer" in page.get("/audit/").content.decode()
    page.post("/audit/verify")
    hub.work()
    assert latest().holds


def test_a_verification_whose_task_was_lost_is_done_all_the_same(hub, browser, clock):
    browser("admin").post("/audit/verify")
    hub.queued()
    clock.shift(attempts.LOST_SECONDS + 1)
    hub.tick()
    assert latest().holds


def test_the_downloaded_export_is_what_the_standalone_script_verifies(
    hub, north, south, browser, tmp_path, monkeypatch
):
    hub.open_round(north, south)
    hub.finish_honestly(north, south)
    checkpoint.sign()
    # In pieces of which the last is full, empty, or neither.
    for piece in (7, AuditHead.objects.get().seq + 1, 1):
        monkeypatch.setattr(export, "CHUNK", piece)
        answer = browser("admin").post("/audit/export")
        assert answer.streaming
        whole = tmp_path / "audit.jsonl"
        whole.write_bytes(body(answer))
        done = subprocess.run(
            [sys.executable, "-I", str(TOOL), str(whole)], capture_output=True, text=True, check=False
        )
        count = AuditHead.objects.get().seq
        assert done.stdout.startswith(f"{count} entries hold. "), done.stderr
        assert AuditEntry.objects.get(seq=count).action == "audit.export"


def test_checkpoints_are_handed_out_to_be_kept(hub, browser):
    for _ in range(3):
        happen(1)
        checkpoint.sign()
    page = browser("admin")
    page.defaults.pop("HTTP_ACCEPT")

    def seqs(query):
        lines = page.get("/api/v1/audit/checkpoints", query).content.decode().splitlines()
        return [json.loads(json.loads(line)["body"])["seq"] for line in lines]

    every = list(Checkpoint.objects.values_list("seq", flat=True))
    assert seqs({}) == every
    assert seqs({"after": every[0]}) == every[1:]
    assert seqs({"after": "x"}) == every
    assert page.get("/api/v1/audit/checkpoints")["Content-Type"] == "application/x-ndjson"
