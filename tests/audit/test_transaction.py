"""The change and its entry are one commit."""

import pytest
from django.contrib.auth.models import Group
from django.db import DatabaseError, IntegrityError, connection

from apps.audit import guards
from apps.audit.api import events_after, on_commit, record, transaction, verify
from apps.audit.models import AuditEntry, AuditHead

pytestmark = pytest.mark.django_db
SYSTEM = "system:test"


def actions() -> list[str]:
    return list(AuditEntry.objects.values_list("action", flat=True))


def test_the_entry_comes_with_the_change():
    with transaction():
        group = Group.objects.create(name="x")
        record("group.create", actor=SYSTEM, obj=group, members=3)
        assert actions() == []
    event = events_after(0)[0]
    assert event["action"] == "group.create"
    assert event["object"] == f"group:{group.pk}"
    assert event["facts"] == {"members": 3}
    assert verify().ok


def test_a_failed_change_leaves_no_entry():
    def attempt() -> None:
        with transaction():
            Group.objects.create(name="x")
            record("group.create", actor=SYSTEM)
            raise LookupError

    with pytest.raises(LookupError):
        attempt()
    assert actions() == []
    assert not Group.objects.exists()
    with transaction():
        record("after.it", actor=SYSTEM)
    assert actions() == ["after.it"]


def test_an_inner_block_joins_the_outer_one():
    with transaction():
        record("outer.first", actor=SYSTEM)
        with transaction():
            record("inner.one", actor=SYSTEM)
        assert actions() == []
        record("outer.last", actor=SYSTEM)
    assert actions() == ["outer.first", "inner.one", "outer.last"]


def test_a_failed_inner_block_takes_only_its_own_entries_with_it():
    def clash() -> None:
        with transaction():
            record("inner.one", actor=SYSTEM)
            Group.objects.create(name="x")

    with transaction():
        Group.objects.create(name="x")
        record("outer.one", actor=SYSTEM)
        with pytest.raises(IntegrityError):
            clash()
        Group.objects.create(name="y")
    assert actions() == ["outer.one"]
    assert set(Group.objects.values_list("name", flat=True)) == {"x", "y"}


def test_recording_outside_a_transaction_is_a_mistake_in_the_code():
    with pytest.raises(RuntimeError, match="outside"):
        record("x.y", actor=SYSTEM)


@pytest.mark.parametrize("fact", ["x" * 201, float("nan"), float("inf")])
def test_facts_are_short_and_finite(fact: object):
    with pytest.raises(ValueError, match="fact"), transaction():
        record("x.y", actor=SYSTEM, fact=fact)


@pytest.mark.parametrize("fact", [b"x", ["x"], {"x": 1}, object()])
def test_facts_are_scalars(fact: object):
    with pytest.raises(TypeError, match="fact"), transaction():
        record("x.y", actor=SYSTEM, fact=fact)


def test_text_from_outside_is_kept_as_utf8():
    with transaction():
        record("x.y", actor=SYSTEM, name="Klinik Süd \ud800 \x00 \u2028")
    assert events_after(0)[0]["facts"]["name"] == "Klinik Süd ? \x00 \u2028"
    assert verify().ok


def test_objects_are_named_as_kind_and_id():
    with pytest.raises(ValueError, match="kind:id"), transaction():
        record("x.y", actor=SYSTEM, obj="nothing")
    with pytest.raises(ValueError, match="not saved"), transaction():
        record("x.y", actor=SYSTEM, obj=Group(name="x"))


@pytest.mark.django_db(transaction=True)
def test_what_follows_a_commit_may_write_too():
    def follow() -> None:
        with transaction():
            record("after.it", actor=SYSTEM)

    def fail() -> None:
        with transaction():
            on_commit(lambda: pytest.fail("it was rolled back"))
            raise LookupError

    with transaction():
        record("it.first", actor=SYSTEM)
        on_commit(follow)
        with pytest.raises(LookupError):
            fail()
    assert actions() == ["it.first", "after.it"]
    assert verify().ok


def test_what_follows_a_commit_waits_for_it(django_capture_on_commit_callbacks):
    called: list[int] = []
    with django_capture_on_commit_callbacks(execute=True), transaction():
        on_commit(lambda: called.append(1))
        assert called == []
    assert called == [1]


def test_an_empty_transaction_does_not_touch_the_head(django_assert_num_queries):
    waits = connection.vendor == "postgresql"  # for its turn
    with django_assert_num_queries(2 + waits), transaction():  # savepoint and release
        pass


@pytest.mark.parametrize("statement", ["UPDATE audit_auditentry SET actor = 'x'", "DELETE FROM audit_auditentry"])
def test_the_database_refuses_to_change_entries(statement: str):
    with transaction():
        record("x.y", actor=SYSTEM)
    with (
        pytest.raises(DatabaseError, match="audit entries cannot be"),
        transaction(),
        connection.cursor() as cursor,
    ):
        cursor.execute(statement)
    with pytest.raises(DatabaseError, match="audit entries cannot be"), transaction():
        AuditEntry.objects.update(actor="x")
    with pytest.raises(TypeError):
        AuditEntry.objects.get().delete()
    assert verify().ok


def test_there_is_one_head_row():
    assert AuditHead.objects.count() == 1
    with pytest.raises(IntegrityError), transaction():
        AuditHead.objects.create(pk=2)


def test_guards_can_be_installed_again():
    guards.install(connection)
    guards.remove(connection)
    guards.remove(connection)
    guards.install(connection)
