"""Store through which door a run was asked, and what the program told with its question."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("chat", "0020_slow_queries"),
    ]

    operations = [
        migrations.AddField(
            model_name="conversation",
            name="is_kept",
            field=models.BooleanField(
                db_default=True,
                default=True,
                help_text="in its owner's list; others are of programs, and removed after 30 days",
            ),
        ),
        migrations.AddField(
            model_name="run",
            name="digest",
            field=models.CharField(
                blank=True,
                db_default="",
                default="",
                help_text="of a program's request, by which a repeated one is found",
                max_length=64,
            ),
        ),
        migrations.AddField(
            model_name="run",
            name="door",
            field=models.CharField(
                blank=True,
                db_default="",
                default="",
                help_text="through which it was asked",
                max_length=9,
            ),
        ),
        migrations.AddField(
            model_name="run",
            name="end_user",
            field=models.CharField(
                blank=True,
                db_default="",
                default="",
                help_text="whom a program has asked for, in its own words",
                max_length=200,
            ),
        ),
        migrations.AddField(
            model_name="run",
            name="told",
            field=models.JSONField(
                blank=True,
                help_text="earlier exchanges and instructions that a program sent with the question",
                null=True,
            ),
        ),
    ]
