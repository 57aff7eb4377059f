import django.db.models.deletion
from django.conf import settings
from django.contrib.auth import SESSION_KEY
from django.contrib.sessions.backends.db import SessionStore
from django.db import migrations, models


def take_over_sessions(apps, schema_editor):
    """Keep people signed in: Django's own table of sessions doesn't know whose they are."""
    Session = apps.get_model("chat", "Session")
    users = set(apps.get_model("auth", "User").objects.values_list("pk", flat=True))
    sessions = []
    for row in apps.get_model("sessions", "Session").objects.iterator():
        user_id = SessionStore().decode(row.session_data).get(SESSION_KEY)
        if user_id and int(user_id) in users:
            sessions.append(
                Session(
                    session_key=row.session_key,
                    session_data=row.session_data,
                    expire_date=row.expire_date,
                    user_id=int(user_id),
                )
            )
    Session.objects.bulk_create(sessions, batch_size=1000, ignore_conflicts=True)


class Migration(migrations.Migration):
    dependencies = [
        ("chat", "0016_chat_lists"),
        ("auth", "0012_alter_user_first_name_max_length"),
        ("sessions", "0001_initial"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="Service",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("slug", models.SlugField(max_length=60, unique=True)),
                ("created_at", models.DateTimeField(auto_now_add=True)),
            ],
        ),
        migrations.CreateModel(
            name="Session",
            fields=[
                (
                    "session_key",
                    models.CharField(
                        max_length=40, primary_key=True, serialize=False, verbose_name="session key"
                    ),
                ),
                ("session_data", models.TextField(verbose_name="session data")),
                ("expire_date", models.DateTimeField(db_index=True, verbose_name="expire date")),
                (
                    "agent",
                    models.CharField(
                        blank=True, help_text="the browser's own words", max_length=200
                    ),
                ),
                (
                    "address",
                    models.CharField(blank=True, help_text="where it signed in", max_length=45),
                ),
                ("signed_in_at", models.DateTimeField(null=True)),
                ("used_at", models.DateTimeField(auto_now=True, help_text="to the day")),
                (
                    "user",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="sessions",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
            options={
                "verbose_name": "session",
                "verbose_name_plural": "sessions",
                "abstract": False,
            },
        ),
        # Before the first change of the runs' table, which locks it until the end.
        migrations.RunPython(take_over_sessions, migrations.RunPython.noop),
        migrations.CreateModel(
            name="Token",
            fields=[
                (
                    "id",
                    models.CharField(
                        editable=False,
                        help_text="shown to all",
                        max_length=8,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                (
                    "digest",
                    models.CharField(
                        editable=False, help_text="sha256 of the token, hex", max_length=64
                    ),
                ),
                ("name", models.CharField(help_text="what the program is for", max_length=100)),
                ("scopes", models.JSONField(default=list, help_text="of ask, read, write")),
                (
                    "model_ids",
                    models.JSONField(
                        blank=True, default=list, help_text="that it may use; empty: all"
                    ),
                ),
                (
                    "origins",
                    models.JSONField(
                        blank=True, default=list, help_text="of pages that may use it"
                    ),
                ),
                (
                    "limits",
                    models.JSONField(
                        blank=True, default=dict, help_text="its own, below those of all"
                    ),
                ),
                ("created_at", models.DateTimeField(auto_now_add=True)),
                (
                    "expires_at",
                    models.DateTimeField(blank=True, help_text="empty: never", null=True),
                ),
                ("used_at", models.DateTimeField(blank=True, help_text="to the minute", null=True)),
                ("used_from", models.CharField(blank=True, help_text="address", max_length=45)),
                ("revoked_at", models.DateTimeField(blank=True, null=True)),
                (
                    "service",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="tokens",
                        to="chat.service",
                    ),
                ),
                (
                    "user",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="tokens",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
        ),
        migrations.AddField(
            model_name="run",
            name="address",
            field=models.CharField(blank=True, db_default="", default="", max_length=45),
        ),
        migrations.AddField(
            model_name="run",
            name="token",
            field=models.ForeignKey(
                blank=True,
                null=True,
                on_delete=django.db.models.deletion.SET_NULL,
                related_name="runs",
                to="chat.token",
            ),
        ),
        migrations.AddIndex(
            model_name="run",
            index=models.Index(
                condition=models.Q(("address", ""), _negated=True),
                fields=["address", "created_at"],
                name="runs_by_address",
            ),
        ),
        migrations.AddConstraint(
            model_name="token",
            constraint=models.CheckConstraint(
                condition=models.Q(("user", None), ("service", None), _connector="XOR"),
                name="token_of_a_user_or_a_service",
            ),
        ),
    ]
