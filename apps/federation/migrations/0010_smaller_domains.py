"""What earlier hubs told of a validation set told too much of its scans: the sets that do are compared with no more."""

from typing import Any

from django.db import migrations

LEAST_OF_CLASS, MOST_AXES = 50, 4


def forget(apps: Any, schema_editor: Any) -> None:  # noqa: ARG001 - Django's signature
    """Empty the domain of sets with fewer scans of a class, or made with more directions, than are told now."""
    for found in apps.get_model("federation", "ValidationSet").objects.exclude(domain={}):
        few = min(found.counts.values(), default=0) < LEAST_OF_CLASS
        if few or len(found.domain["variances"]) > MOST_AXES:
            found.domain = {}
            found.save(update_fields=["domain"])


class Migration(migrations.Migration):
    dependencies = [
        ("federation", "0009_who_is_asked"),
    ]

    operations = [migrations.RunPython(forget, migrations.RunPython.noop)]
