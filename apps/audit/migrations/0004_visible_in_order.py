from django.db import migrations, models


class Migration(migrations.Migration):
    """What one reader may see, in order: without it each page sorts all of it."""

    dependencies = [("audit", "0003_checkpoint")]

    operations = [
        migrations.AddIndex(
            model_name="auditentry",
            index=models.Index(fields=["visibility", "seq"], name="audit_visible_in_order"),
        )
    ]
