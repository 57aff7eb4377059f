"""Index what lists leave out, and the requests of programs by their digests."""

from django.db import migrations, models

from chat.postgresql.indexes import AddIndex


class Migration(migrations.Migration):
    atomic = False
    dependencies = [("chat", "0021_doors")]
    operations = [
        AddIndex(
            model_name="conversation",
            index=models.Index(
                condition=models.Q(("is_kept", True)),
                fields=["owner", "-updated_at"],
                name="chats_kept",
            ),
        ),
        AddIndex(
            model_name="conversation",
            index=models.Index(
                condition=models.Q(("is_kept", False)), fields=["updated_at"], name="chats_to_prune"
            ),
        ),
        AddIndex(
            model_name="run",
            index=models.Index(
                condition=models.Q(("digest", ""), _negated=True),
                fields=["owner", "digest", "created_at"],
                name="runs_by_digest",
            ),
        ),
    ]
