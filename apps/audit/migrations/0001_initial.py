from django.db import migrations, models


class Migration(migrations.Migration):
    initial = True

    dependencies = []

    operations = [
        migrations.CreateModel(
            name="AuditEntry",
            fields=[
                ("seq", models.BigIntegerField(primary_key=True, serialize=False)),
                ("body", models.BinaryField()),
                ("prev_hash", models.CharField(max_length=64, unique=True)),
                ("entry_hash", models.CharField(max_length=64, unique=True)),
                ("ts_us", models.BigIntegerField(db_index=True)),
                ("actor", models.CharField(db_index=True, max_length=100)),
                ("action", models.CharField(db_index=True, max_length=60)),
                ("object", models.CharField(blank=True, db_index=True, max_length=120)),
                ("outcome", models.CharField(max_length=20)),
                ("visibility", models.CharField(db_index=True, max_length=60)),
            ],
            options={
                "verbose_name_plural": "audit entries",
                "ordering": ["seq"],
            },
        ),
        migrations.CreateModel(
            name="AuditHead",
            fields=[
                ("id", models.PositiveSmallIntegerField(default=1, primary_key=True, serialize=False)),
                ("seq", models.BigIntegerField(default=0)),
                (
                    "entry_hash",
                    models.CharField(
                        default="0000000000000000000000000000000000000000000000000000000000000000", max_length=64
                    ),
                ),
            ],
            options={
                "constraints": [models.CheckConstraint(condition=models.Q(("id", 1)), name="audit_head_single")],
            },
        ),
    ]
