"""The real parts that tests use: a Valkey, scripted servers, the ASGI application."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path
from textwrap import dedent

import pytest
import pytest_asyncio
import redis
from asgiref.sync import sync_to_async
from django.conf import settings as django_settings
from django.contrib.auth.models import Permission
from django.contrib.contenttypes.models import ContentType
from django.core.management.commands import flush
from django.db import connection, connections
from django.test import override_settings
from django.utils import translation
from pytest_django import Settings

from agenticfleet import embedded
from agenticfleet.asgi import application
from chat import database
from chat.access.limits import NO_LIMIT
from chat.config.reading import Config
from chat.refusals import KEY as REFUSALS_KEY
from chat.runs.worker import Worker
from tests.chatting import Chatting
from tests.configs import Configure, written
from tests.postgresql import MissingProgram, PostgreSQL, found, postgresql
from tests.programs import REQUIRED
from tests.scripted_model import ScriptedModel
from tests.scripted_search import ScriptedSearch
from tooling import bounded, known
from tooling.loading import load

KEPT = [table._meta.db_table for table in (ContentType, Permission)]
CALL_TIMEOUT = bounded.CALL_TIMEOUT
DATABASE_FIXTURES = {"db", "transactional_db"}
STARTERS = ("launch", "running", "fleet_of")  # of tests/serving.py and tests/compat/asking.py


def pytest_itemcollected(item: pytest.Item) -> None:
    """Set the marks by which `manage.py test` chooses, except those that say `by hand`."""
    fixtures = set(getattr(item, "fixturenames", ()))
    if DATABASE_FIXTURES & fixtures or item.get_closest_marker("django_db"):
        item.add_marker("database")
    module = item.getparent(pytest.Module)
    names = vars(module.obj) if module else {}
    if "fleet" in fixtures or any(callable(names.get(name)) for name in STARTERS):
        item.add_marker("processes")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take longest.

    Begun last, one would keep a process busy while the others have nothing to do.
    """
    marks = ("processes", "browser")
    long_files = {item.path for item in items if any(map(item.get_closest_marker, marks))}
    items.sort(key=lambda item: item.path not in long_files)


@pytest.fixture(scope="session")
def valkey_url() -> Iterator[str]:
    with embedded.Watcher() as watcher:
        server = embedded.start_valkey(watcher)
        embedded.wait_until_answering([server])
        yield server.url
        server.stop()


@pytest.fixture(scope="session")
def postgresql_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgreSQL]:
    """Yield a PostgreSQL beside the suite's own database; skip the test if none is installed."""
    try:
        found("initdb")
    except MissingProgram as exc:
        if REQUIRED:
            raise
        pytest.skip(str(exc))
    with postgresql(tmp_path_factory.mktemp("postgresql")) as server:
        yield server


@pytest.fixture(autouse=True)
def _long_redis_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait longer for Redis than the product does, because a busy machine may stop for a moment.

    Tests about an unavailable Redis use `impatience`.
    """
    monkeypatch.setattr(bounded, "CALL_TIMEOUT", 10.0)


@pytest.fixture(autouse=True)
def _source_language() -> Iterator[None]:
    """End the language of a request: Django's test client leaves it to the test's thread."""
    yield
    translation.deactivate()


@pytest.fixture
def impatience(_long_redis_timeout: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give up on Redis as soon as the product does."""
    monkeypatch.setattr(bounded, "CALL_TIMEOUT", CALL_TIMEOUT)


@pytest.fixture(scope="session")
def model_server() -> Iterator[ScriptedModel]:
    server = ScriptedModel()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def search_server() -> Iterator[ScriptedSearch]:
    server = ScriptedSearch()
    yield server
    server.stop()


@pytest.fixture(scope="session", autouse=True)
def _services(valkey_url: str, model_server: ScriptedModel) -> Iterator[None]:
    layer = {
        **django_settings.CHANNEL_LAYERS["default"],
        "CONFIG": {"hosts": [{"address": valkey_url, "socket_timeout": None}]},
    }
    with override_settings(
        REDIS_URL=valkey_url,
        CHANNEL_LAYERS={"default": layer},
        OPENAI_BASE_URL=model_server.url,
        OPENAI_API_KEY="",
        FLEET_MODEL="scripted",
        FLEET_LIGHT_MODEL="scripted",
        FLEET_LIGHT_THRESHOLD=0,  # Only tests about the router need more than the light path.
        FLEET_TITLES=False,
        FLEET_SUMMARIES=False,
        FLEET_READ_PAGES=False,  # No test leaves the machine.
        FLEET_API="open",
        FLEET_LIMITS=replace(
            django_settings.FLEET_LIMITS,
            **dict.fromkeys(
                ("runs", "questions", "tokens", "searches", "sockets", "handshakes"), NO_LIMIT
            ),
        ),
        PASSWORD_HASHERS=["django.contrib.auth.hashers.MD5PasswordHasher"],
        ALLOWED_HOSTS=["testserver", "127.0.0.1", "localhost"],
    ):
        yield


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None) -> Iterator[None]:
    """Leave no connection in other threads, for which PostgreSQL would keep the database."""
    yield
    asyncio.run(sync_to_async(connections.close_all)())
    database.close_connections()


@pytest.fixture(scope="session", autouse=True)
def _quick_flush() -> Iterator[None]:
    """Empty the tables between tests, but keep content types and permissions.

    Django makes those anew after a flush. PostgreSQL takes 0.1 s for its TRUNCATE, but
    hardly a millisecond for a DELETE of the few rows of a test.
    """
    tables = [table for table in connection.introspection.django_table_names() if table not in KEPT]
    deletions = [f'DELETE FROM "{table}"' for table in tables]
    # PostgreSQL runs several statements at once.
    statements = ["; ".join(deletions)] if connection.vendor == "postgresql" else deletions
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(flush, "sql_flush", lambda *_args, **_options: statements)
        patch.setattr(flush, "emit_post_migrate_signal", lambda *_args, **_options: None)
        yield


@pytest.fixture
def model(model_server: ScriptedModel) -> Iterator[ScriptedModel]:
    model_server.reset()
    yield model_server
    model_server.reset()


@pytest.fixture
def web(search_server: ScriptedSearch) -> Iterator[ScriptedSearch]:
    search_server.reset()
    yield search_server
    search_server.reset()


@pytest_asyncio.fixture
async def worker(transactional_db: None) -> AsyncIterator[Worker]:
    """Yield the Worker of the test's event loop; end all its runs afterwards."""
    # What models refuse in one test, they may take in the next.
    with redis.Redis.from_url(django_settings.REDIS_URL) as store:
        store.delete(REFUSALS_KEY)
    yield Worker.current()
    async with asyncio.timeout(30):
        # A test may have replaced the worker, so that it reads other settings.
        await Worker.current().drain(grace=0)
    await Worker.current().stop()
    database.close_connections()
    # That of the thread in which the ORM's `a…` methods run.
    await sync_to_async(connections.close_all)()


@pytest_asyncio.fixture
async def chat(worker: Worker, model: ScriptedModel) -> AsyncIterator[Chatting]:
    """Yield a client of the application; close its sockets afterwards."""
    chatting = Chatting(application)
    yield chatting
    await chatting.close()


@pytest.fixture
def configure(settings: Settings, tmp_path: Path) -> Iterator[Configure]:
    """Put a fleet.toml into force, perhaps with a fleet_tools.py: `configure(toml, tools, K=…)`."""
    tools_before, off_before = dict(known.TOOLS), set(known.SWITCHED_OFF)

    def put(toml: str, tools: str = "", **secrets: str) -> Config:
        config = settings.FLEET_FILE = written(tmp_path, dedent(toml), dedent(tools), **secrets)
        load(
            config.tools_path, config.file.apps, config.file.tools, source=config.files.tools_source
        )
        return config

    yield put
    known.TOOLS.clear()
    known.TOOLS.update(tools_before)
    known.SWITCHED_OFF.clear()
    known.SWITCHED_OFF.update(off_before)
