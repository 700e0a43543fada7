"""The validation set: how it comes, is prepared, takes another's place, and goes with all that is its own."""

import io
import json
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from threading import Barrier

import on_disk
import pytest
import time_machine
from django.conf import settings
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection, connections
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from hub_client import HubClient
from hub_driver import assert_refused
from proposing import proposed
from validating import LEAST, bring, png, ready_set, zipped

from apps.federation.models import Attempt, ValidationReport, ValidationScan, ValidationSet
from apps.federation.pipeline import attempts, prepare, review, tick, validation
from apps.federation.pipeline.step import Refusal
from apps.federation.pipeline.validate import UnusableError, labelled, measure
from hospintel_core.architectures import CLASSES

SCANS = "/api/v1/validation/scans"


@pytest.fixture
def admin_client(hub, cast):
    client = HubClient()
    client.force_login(cast.admin)
    return client


def send(client, *files, **fields):
    return client.post(SCANS, {"file": [SimpleUploadedFile(name, data) for name, data in files], **fields})


def files_of(found):
    """What lies on disk of a set: its key, its scans, its features."""
    folders = [Path(settings.KEYS), Path(settings.UPLOAD_DIR)]
    return [path for folder in folders for path in folder.rglob(f"*{found.pk}*")]


def sealed_of(found):
    return list((Path(settings.UPLOAD_DIR) / "validation" / str(found.pk)).iterdir())


def all_keys():
    return set((Path(settings.KEYS) / "validation").glob("*.key"))


def refused(call):
    with pytest.raises(Refusal) as caught:
        call()
    return caught.value.code


def test_a_set_from_its_first_scan_to_use(hub, cast, admin_client):
    answer = send(admin_client, ("scans.zip", zipped()))
    assert answer.status_code == 200
    told = answer.json()
    assert (told["taken"], told["refused"], told["set"]["state"]) == (4 * LEAST, [], "RECEIVING")
    assert told["set"]["counts"] == dict.fromkeys(CLASSES, LEAST)
    more = send(admin_client, ("a.png", png(2, 77)), ("b.png", png(2, 0)), class_name="notumor")
    assert (more.json()["taken"], [copy["place"] for copy in more.json()["copies"]]) == (1, ["2"])
    used = admin_client.post_json(f"/api/v1/validation/{told['set']['id']}/use", {})
    assert (used.status_code, used.json()["state"]) == (200, "PREPARING")
    hub.work()
    shown = admin_client.get("/api/v1/validation").json()
    assert (shown["ready"]["state"], shown["ready"]["prepared"], shown["coming"]) == ("READY", 4 * LEAST + 1, None)
    assert shown["ready"]["counts"] == {**dict.fromkeys(CLASSES, LEAST), "notumor": LEAST + 1}
    assert sum(map(sum, shown["confusion"])) == 4 * LEAST + 1
    found = ValidationSet.objects.get()
    row = ValidationReport.objects.get()
    assert (row.version, row.n) == (hub.federation.current, 4 * LEAST + 1)
    assert len(labelled(found).features) == row.n
    entry = hub.event(action="validation_set.ready")
    assert (entry["visibility"], entry["facts"]["scans"]) == ("everyone", row.n)
    assert hub.events(action="validation_set.scans")[0]["visibility"] == "admin"


def test_scans_and_features_lie_sealed_and_no_name_of_a_file_is_kept(hub, cast, admin_client):
    send(admin_client, ("Jane_Doe_1970.png", png(0, 1)), class_name="glioma")
    bring(hub, cast.admin)
    found = ready_set_of(hub, cast)
    plain = validation.SCANS.read(found.pk, ValidationScan.objects.first().pk)
    features = labelled(found).features[0].tobytes()
    kept = sealed_of(found)
    assert len(kept) == 4 * LEAST + 1
    for path in kept:
        data = path.read_bytes()
        assert not any(part in data for part in (b"PNG", plain[20:60], features[:40]))
        assert path.parent.stat().st_mode & 0o077 == 0
    told = json.dumps(hub.events()) + "".join(str(vars(row)) for row in ValidationScan.objects.all())
    assert "Jane" not in told


def ready_set_of(hub, cast):
    found = ValidationSet.objects.get(state="RECEIVING")
    hub.run(validation.use(found, actor=cast.admin.actor))
    found.refresh_from_db()
    return found


def test_the_next_set_takes_the_place_of_the_one_before_whose_scans_go(hub, cast):
    first = ready_set(hub, cast.admin)
    old = measure(first, [hub.federation.current])[0]
    second = ready_set(hub, cast.admin, seed=6)
    first.refresh_from_db()
    assert (first.state, second.state) == ("REPLACED", "READY")
    assert first.erased_at is not None
    assert (files_of(first), first.counts) == ([], dict.fromkeys(CLASSES, LEAST))
    assert not ValidationScan.objects.filter(validation_set=first).exists()
    assert first.digest != second.digest
    # What was measured on it stays.
    assert ValidationReport.objects.get(validation_set=first).report == old
    assert hub.event(action="validation_set.replaced")["object"] == f"validation_set:{first.pk}"
    assert hub.event(action="validation_set.erase")["facts"]["scans"] == 4 * LEAST


def test_the_same_scans_have_the_same_digest_whatever_they_were_called(hub, cast):
    first = ready_set(hub, cast.admin)
    assert ready_set(hub, cast.admin).digest == first.digest


@pytest.mark.parametrize("state", ["RECEIVING", "PREPARING", "READY"])
def test_a_set_is_deleted_with_all_that_is_its_own(hub, cast, admin_client, state):
    found = bring(hub, cast.admin)
    following = validation.use(found, actor=cast.admin.actor) if state != "RECEIVING" else []
    if state == "READY":
        hub.run(following)
    found.refresh_from_db()
    assert found.state == state
    assert admin_client.delete(f"/api/v1/validation/{found.pk}").status_code == 204
    found.refresh_from_db()
    assert (found.state, files_of(found)) == ("DELETED", [])
    assert hub.event(action="validation_set.deleted")["visibility"] == ("everyone" if state == "READY" else "admin")
    # Its worker comes too late.
    hub.run(following)
    found.refresh_from_db()
    assert (found.state, files_of(found)) == ("DELETED", [])
    assert_refused(admin_client.delete(f"/api/v1/validation/{found.pk}"), 409, "validation_state")


def test_too_few_of_a_class_are_refused_and_named(hub, cast, admin_client):
    found = bring(hub, cast.admin, {**dict.fromkeys(CLASSES, LEAST), "glioma": LEAST - 1, "notumor": 0})
    answer = admin_client.post_json(f"/api/v1/validation/{found.pk}/use", {})
    assert_refused(answer, 400, "scans_few")
    assert f"glioma ({LEAST - 1}), notumor (0)" in answer.json()["detail"]
    found.refresh_from_db()
    assert found.state == "RECEIVING"


BAD = {
    "a text behind a right extension": (("a.png", b"not a picture"), "image_mismatch"),
    "a cut picture": (("a.png", png(0, 1)[:200]), "image_unreadable"),
    "no class": (("a.png", png(0, 1)), "scan_without_class"),
    "an unknown class": (("a.zip", zipped({"glioma": 1, "notumor": 1}).replace(b"glioma", b"oedema")), "unknown_class"),
    "a broken zip file": (("a.zip", zipped({"glioma": 1})[:80]), "dataset_unreadable"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_no_labelled_scan_is_refused_and_begins_no_set(hub, admin_client, case):
    file, code = BAD[case]
    before = all_keys()
    assert_refused(send(admin_client, file), 422, code)
    assert not ValidationSet.objects.exists()
    assert hub.files() == set()
    assert all_keys() == before


def test_other_bad_requests(hub, cast, admin_client):
    assert_refused(admin_client.post(SCANS, {"file": ""}), 400, "bad_request")
    assert_refused(send(admin_client, ("a.png", png(0, 1)), class_name="oedema"), 400, "class_unknown")
    found = bring(hub, cast.admin)
    hub.run(validation.use(found, actor=cast.admin.actor))
    assert_refused(admin_client.post_json(f"/api/v1/validation/{found.pk}/use", {}), 409, "validation_state")
    coming = bring(hub, cast.admin, seed=6)
    validation.use(coming, actor=cast.admin.actor)
    assert_refused(send(admin_client, ("a.png", png(0, 1)), class_name="glioma"), 409, "validation_state")


def test_the_same_picture_of_another_class_is_refused(hub, cast, admin_client):
    bring(hub, cast.admin)
    answer = send(admin_client, ("a.png", png(0, 0)), class_name="pituitary")
    assert_refused(answer, 422, "conflicting_label")


def test_more_scans_than_a_set_may_have_are_left_out(hub, cast, admin_client, monkeypatch):
    monkeypatch.setattr(validation, "MOST_SCANS", 4 * LEAST)
    bring(hub, cast.admin)
    assert_refused(send(admin_client, ("a.png", png(0, 99)), class_name="glioma"), 422, "validation_full")


def test_the_tick_has_a_set_prepared_that_no_worker_gives_a_sign_of_life_of(hub, cast):
    found = bring(hub, cast.admin)
    validation.use(found, actor=cast.admin.actor)
    hub.queued()
    assert "prepare_validation" in {step.step for step in tick.due()}
    assert "prepare_validation" not in {step.step for step in tick.due()}
    with time_machine.travel(timezone.now() + timedelta(seconds=tick.STUCK_SECONDS + 1)):
        assert [step.id for step in tick.due() if step.step == "prepare_validation"] == [found.pk]
        # One look is enough for a while.
        assert "prepare_validation" not in {step.step for step in tick.due()}
        hub.run([step_of(found)])
    found.refresh_from_db()
    assert found.state == "READY"


def step_of(found):
    return validation.Next("prepare_validation", found.pk, apart=True)


def test_what_people_look_at_is_measured_although_the_tasks_for_it_are_lost(hub, cast, clock):
    def later():
        hub.queued()
        clock.shift(attempts.LOST_SECONDS + 1)
        hub.tick()
        return set(ValidationReport.objects.values_list("version__state", "version__number"))

    found = bring(hub, cast.admin)
    validation.use(found, actor=cast.admin.actor)
    prepare.prepare_validation(found.pk)
    assert later() == {("PUBLISHED", 1)}
    proposed(hub, cast.north_doctor)
    assert later() == {("PUBLISHED", 1), ("HELD", None)}
    review.publish_held(hub.federation.versions.get(state="HELD"), actor=cast.admin.actor)
    ValidationReport.objects.all().delete()
    assert later() >= {("PUBLISHED", 2)}
    assert not Attempt.objects.exists()


def test_a_damaged_scan_fails_the_set_and_says_so(hub, cast):
    found = bring(hub, cast.admin)
    scan = ValidationScan.objects.first()
    path = on_disk.scan_path(validation.SCANS, found.pk, scan.pk)
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    hub.run(validation.use(found, actor=cast.admin.actor))
    found.refresh_from_db()
    assert (found.state, found.code, files_of(found)) == ("FAILED", "no_samples", [])
    assert hub.event(action="validation_set.failed")["facts"]["code"] == "no_samples"


def test_a_set_whose_features_are_gone_is_ended_by_who_finds_that_out(hub, cast):
    found = ready_set(hub, cast.admin)
    ValidationReport.objects.all().delete()
    on_disk.scan_path(validation.SCANS, found.pk, validation.features_id(found.digest, found.backbone)).unlink()
    with pytest.raises(UnusableError, match="scan_gone"):
        measure(found, [hub.federation.current])
    found.refresh_from_db()
    assert (found.state, found.code) == ("FAILED", "scan_gone")


def test_a_set_that_nobody_went_on_with_and_a_key_without_a_set_go(hub, cast, clock):
    found = bring(hub, cast.admin)
    ValidationSet.objects.update(created_at=timezone.now())
    validation.tidy()
    assert len(files_of(found)) == 2
    clock.shift(timedelta(hours=validation.DRAFT_HOURS, seconds=1))
    orphan = ValidationSet(federation=hub.federation, author=cast.admin)
    validation.SCANS.create(orphan.pk)
    validation.tidy()
    found.refresh_from_db()
    assert (found.state, files_of(found), files_of(orphan)) == ("DELETED", [], [])


def test_what_the_disk_would_not_let_go_is_deleted_later(hub, cast, monkeypatch):
    found = ready_set(hub, cast.admin)
    erase = validation.SCANS.erase
    monkeypatch.setattr(validation.SCANS, "erase", lambda _: (_ for _ in ()).throw(OSError("disk")))
    validation.delete(found, actor=cast.admin.actor)
    assert files_of(found)
    monkeypatch.setattr(validation.SCANS, "erase", erase)
    validation.tidy()
    found.refresh_from_db()
    assert files_of(found) == []
    assert found.erased_at is not None


def test_of_twenty_who_begin_a_set_at_once_one_does_and_no_key_is_left_over(hub, cast):
    crowd, gate, before = 20, Barrier(20), all_keys()

    def begin(number):
        gate.wait()
        try:
            found, _ = validation.add(cast.admin, hub.federation, [("a.png", io.BytesIO(png(0, number)))], label=0)
            return str(found.pk)
        except Refusal as refusal:
            return refusal.code
        finally:
            connections.close_all()

    with ThreadPoolExecutor(crowd) as pool:
        came = list(pool.map(begin, range(crowd)))
    found = ValidationSet.objects.get()
    assert set(came) <= {str(found.pk), "validation_state"}
    assert found.scans.count() == came.count(str(found.pk))
    assert len(all_keys() - before) == 1
    assert len(sealed_of(found)) == found.scans.count()


def test_of_two_workers_one_puts_the_set_to_use(hub, cast):
    found = bring(hub, cast.admin)
    waiting = validation.use(found, actor=cast.admin.actor)
    hub.run([*waiting, *waiting])
    assert len(hub.events(action="validation_set.ready")) == 1


def test_the_page_tells_what_is_so(hub, cast, admin_client):
    empty = admin_client.get("/validation/", headers={"Accept": "text/html"}).text
    assert "There is no validation set" in empty
    sent = admin_client.post("/validation/", {"file": SimpleUploadedFile("s.zip", zipped(LEAST - 1))})
    assert f"{4 * (LEAST - 1)} scans taken." in sent.text
    assert f"Each class needs at least {LEAST} scans." in sent.text
    assert 'id="coming-no-check"' in sent.text
    assert "with fewer than 50 scans of each class" in sent.text
    found = ValidationSet.objects.get()
    told = admin_client.post(f"/validation/{found.pk}/use", follow=True)
    assert "Add scans of glioma (9)" in told.text
    ready_set(hub, cast.admin, seed=6)
    full = admin_client.get("/validation/").text
    assert f"Versions are measured with {8 * LEAST - 4} scans" in full
    assert "Version 1 on this set" in full
    assert 'id="ready-no-check"' in full
    assert admin_client.get("/api/v1/validation").json()["ready"]["domain_check"] is False
    assert "scans of the hub&#x27;s validation set" in full or "scans of the hub's validation set" in full
    bad = admin_client.post("/validation/", {"file": ""})
    assert 'data-code="bad_request"' in bad.text


def test_a_set_is_locked_before_its_scans_are_counted(hub, cast):
    """SQLite has one writer at a time; on PostgreSQL it is this order that keeps scans from coming in between."""
    found = bring(hub, cast.admin)
    with CaptureQueriesContext(connection) as seen:
        validation.use(found, actor=cast.admin.actor)
    about = [query["sql"] for query in seen if "federation_validation" in query["sql"]]
    assert about[0].startswith("UPDATE")
    assert any("federation_validationscan" in sql for sql in about[1:])
