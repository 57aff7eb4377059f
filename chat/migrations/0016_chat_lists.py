from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("chat", "0015_shares_instructions")]
    operations = [
        migrations.CreateModel(
            name="Words",
            fields=[
                (
                    "message",
                    models.OneToOneField(
                        on_delete=models.CASCADE,
                        primary_key=True,
                        related_name="+",
                        serialize=False,
                        to="chat.message",
                    ),
                ),
                (
                    "conversation",
                    models.ForeignKey(
                        on_delete=models.CASCADE, related_name="+", to="chat.conversation"
                    ),
                ),
                ("text", models.TextField()),
            ],
        ),
        migrations.AddIndex(
            model_name="conversation",
            index=models.Index(
                fields=["owner", "-pinned_at"],
                condition=models.Q(pinned_at__isnull=False),
                name="chats_pinned",
            ),
        ),
    ]
