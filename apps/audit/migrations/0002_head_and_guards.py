from django.db import migrations

from apps.audit import guards


def begin_chain(apps, schema_editor):
    apps.get_model("audit", "AuditHead").objects.get_or_create(pk=1)
    guards.install(schema_editor.connection)


def open_table(_apps, schema_editor):
    guards.remove(schema_editor.connection)


class Migration(migrations.Migration):
    """The single head row, and the triggers that keep entries from being changed."""

    dependencies = [("audit", "0001_initial")]

    operations = [migrations.RunPython(begin_chain, open_table)]
