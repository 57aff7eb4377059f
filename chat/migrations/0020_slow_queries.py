"""Index what the pages of a chat read."""

from django.db import migrations, models

from chat.postgresql.indexes import AddIndex


class Migration(migrations.Migration):
    atomic = False
    dependencies = [("chat", "0019_tries")]
    operations = [
        AddIndex(
            model_name="message",
            index=models.Index(
                condition=models.Q(("role", "user")),
                fields=["conversation", "id", "branch_of", "follows"],
                name="questions_of_chat",
            ),
        ),
        AddIndex(
            model_name="run",
            index=models.Index(fields=["conversation", "answer", "question"], name="runs_of_chat"),
        ),
    ]
