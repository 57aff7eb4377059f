"""Index the runs of each owner in the order in which programs list them."""

from django.db import migrations, models

from chat.postgresql.indexes import AddIndex


class Migration(migrations.Migration):
    atomic = False
    dependencies = [("chat", "0022_door_indexes")]
    operations = [
        AddIndex(
            model_name="run",
            index=models.Index(fields=["owner", "created_at"], name="runs_of_owner"),
        ),
    ]
