import pytest
from django.contrib.auth.models import Group

from apps.audit.api import events_after, record, transaction, verify
from apps.audit.models import AuditEntry

pytestmark = pytest.mark.django_db


def actions() -> list[str]:
    return list(AuditEntry.objects.values_list("action", flat=True))


def test_the_entry_comes_with_the_change():
    with transaction():
        group = Group.objects.create(name="x")
        record("group.create", actor="system:test", obj=group, members=3)
        assert actions() == []
    event = events_after(0)[0]
    assert event["action"] == "group.create"
    assert event["object"] == f"group:{group.pk}"
    assert event["facts"] == {"members": 3}
    assert verify().ok
