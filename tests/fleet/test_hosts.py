"""Several hosts with one database: who changes its tables, and what they must have in common."""

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from threading import Timer
from uuid import uuid4

import psycopg
import pytest

from agenticfleet.changing import TURN
from tests.postgresql import PostgreSQL
from tests.scripted_model import ScriptedModel
from tests.serving import MANAGE, START, Fleet, clean_environment, end, launch, until

MIGRATED = "SELECT count(*) FROM django_migrations WHERE app = 'chat'"
WAITING = "Waiting for another fleet"


@pytest.fixture
def database(postgresql_server: PostgreSQL) -> str:
    """Make an empty database and return its name."""
    name = f"hosts_{uuid4().hex[:8]}"
    postgresql_server.sql(f"CREATE DATABASE {name}")
    return name


@contextmanager
def started(folder: Path, model: ScriptedModel, **environment: str) -> Iterator[Fleet]:
    """Yield a fleet of a host of its own, without waiting for it. End it after the block."""
    (folder / "state").mkdir(parents=True)
    # Their one worker is enough.
    fleet = launch(folder, OPENAI_BASE_URL=model.url, FLEET_MODEL="scripted", **environment)
    try:
        yield fleet
    finally:
        end(fleet)


def manage(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, MANAGE, *arguments],
        env={
            **clean_environment(),
            "FLEET_STATE_DIR": str(folder / "state"),
            "PYTHON_DOTENV_DISABLED": "1",
            **environment,
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=START,
    )


def refusal_of(fleet: Fleet) -> str:
    """Return the line with which a fleet has refused to start."""
    until(lambda: fleet.process.poll() is not None, START, "the fleet serves")
    return fleet.complained


class TestPostgreSQL:
    def test_hosts_that_start_at_once_share_an_empty_database(
        self,
        tmp_path: Path,
        model: ScriptedModel,
        valkey_url: str,
        postgresql_server: PostgreSQL,
        database: str,
    ) -> None:
        url = postgresql_server.url(database)
        with ExitStack() as stack, psycopg.connect(url) as other:
            # Another host changes the tables, until the connection ends. So both wait, and go on at
            # the same moment.
            other.execute("SELECT pg_advisory_xact_lock(%s)", [TURN])
            fleets = [
                stack.enter_context(
                    started(tmp_path / name, model, DATABASE_URL=url, REDIS_URL=valkey_url)
                )
                for name in ("a", "b")
            ]
            for fleet in fleets:
                until(lambda said=fleet: WAITING in said.said, START, fleet.complained)
            assert "django_migrations" not in postgresql_server.sql(
                "SELECT tablename FROM pg_tables", database
            )
            other.rollback()
            for fleet in fleets:
                fleet.wait_until_ready()
            said = "\n".join(fleet.said for fleet in fleets)
            assert len(re.findall("with the password", said)) == 1
            assert postgresql_server.sql("SELECT count(*) FROM auth_user", database) == "1"

            # A third host with another key would end the sessions of both.
            odd = stack.enter_context(
                started(
                    tmp_path / "c",
                    model,
                    DATABASE_URL=url,
                    REDIS_URL=valkey_url,
                    DJANGO_SECRET_KEY="another" * 9,
                )
            )
            line = refusal_of(odd)
            assert "DJANGO_SECRET_KEY: a fleet with another key uses PostgreSQL" in line
            assert "another" * 9 not in line

    def test_names_of_connections_that_an_operator_gave_are_no_keys(
        self, tmp_path: Path, postgresql_server: PostgreSQL, database: str
    ) -> None:
        url = postgresql_server.url(database)
        code = "from agenticfleet import hosts; hosts.refuse_other_key(lambda seconds: None)"
        asked = partial(manage, tmp_path, "shell", "--no-imports", "-c", code)
        with psycopg.connect(url, application_name="fleet-frankfurt"):
            for own in ("", "?application_name=fleet-paris"):
                refused = asked(DATABASE_URL=url + own)
                assert refused.returncode == 0, refused.stderr
        with psycopg.connect(url, application_name="fleet-0123abcd"):
            assert "another key" in asked(DATABASE_URL=f"{url}?application_name=paris").stderr

    def test_fleet_without_a_key_is_refused(
        self, tmp_path: Path, model: ScriptedModel, postgresql_server: PostgreSQL, database: str
    ) -> None:
        url = postgresql_server.url(database)
        with started(tmp_path, model, DATABASE_URL=url, DJANGO_SECRET_KEY="") as fleet:
            line = refusal_of(fleet)
        assert "REDIS_URL is not set: another host of this database" in line
        assert "DJANGO_SECRET_KEY must be set with PostgreSQL" in line
        assert str(tmp_path / "state/secret_key") in line

    def test_migrations_have_as_much_time_as_they_need(
        self, tmp_path: Path, postgresql_server: PostgreSQL, database: str
    ) -> None:
        # What a statement of a worker may take is not enough for a migration.
        url = postgresql_server.url(database) + "?options=-c%20statement_timeout%3D1"
        migrated = manage(tmp_path, "migrate", DATABASE_URL=url)
        assert migrated.returncode == 0, migrated.stderr
        assert int(postgresql_server.sql(MIGRATED, database)) > 0

    @pytest.mark.long
    def test_indexes_are_made_during_a_backup(
        self, tmp_path: Path, postgresql_server: PostgreSQL, database: str
    ) -> None:
        url = postgresql_server.url(database)
        before = manage(tmp_path, "migrate", "chat", "0019", DATABASE_URL=url)
        assert before.returncode == 0, before.stderr
        # No lock of its own, but PostgreSQL waits for it as if it had one.
        code = (
            "from agenticfleet import changing; changing.UNLIMITED['lock_timeout'] = '100ms';"
            " from django.core.management import call_command; call_command('migrate')"
        )
        with psycopg.connect(url) as dump:
            dump.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            dump.execute("SELECT 1 FROM chat_run")
            ending = Timer(5, dump.rollback)
            ending.start()
            migrated = manage(tmp_path, "shell", "--no-imports", "-c", code, DATABASE_URL=url)
            ending.join()
        assert migrated.returncode == 0, migrated.stderr
        invalid = "SELECT count(*) FROM pg_index WHERE NOT indisvalid"
        assert postgresql_server.sql(invalid, database) == "0"

    def test_wait_for_another_host_has_an_end(
        self, tmp_path: Path, postgresql_server: PostgreSQL, database: str
    ) -> None:
        url = postgresql_server.url(database)
        code = (
            "from agenticfleet import changing; changing.TURN_TIMEOUT = 0.5;"
            " from django.core.management import call_command; call_command('migrate')"
        )
        with psycopg.connect(url) as other:
            other.execute("SELECT pg_advisory_xact_lock(%s)", [TURN])
            waited = manage(tmp_path, "shell", "--no-imports", "-c", code, DATABASE_URL=url)
        assert waited.returncode == 1
        last = waited.stderr.strip().splitlines()[-1]
        assert f"pg_locks shows the one with the advisory lock {TURN}" in last
