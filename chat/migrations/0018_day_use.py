from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("chat", "0017_access"),
    ]

    operations = [
        migrations.CreateModel(
            name="DayUse",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("day", models.DateField()),
                (
                    "subject",
                    models.CharField(
                        help_text="user:<id>, browser:<id>, address:<address>, token:<id> or site",
                        max_length=90,
                    ),
                ),
                (
                    "tokens",
                    models.BigIntegerField(default=0, help_text="read and written by models"),
                ),
                ("searches", models.FloatField(default=0, help_text="credits of the web search")),
                (
                    "money",
                    models.FloatField(default=0, help_text="in the currency of the price list"),
                ),
            ],
            options={
                "default_permissions": ("view",),
                "verbose_name": "use of a day",
                "verbose_name_plural": "use by day",
                "constraints": [
                    models.UniqueConstraint(fields=("day", "subject"), name="one_use_a_day")
                ],
            },
        ),
    ]
