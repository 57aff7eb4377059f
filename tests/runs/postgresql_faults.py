"""What happens to a PostgreSQL server while a fleet's answers are being written."""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

import psycopg

from tests.postgresql import PostgreSQL
from tests.proxy import Proxy

CUT = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
    " WHERE pid <> pg_backend_pid() AND datname = 'fleet'"
)


@dataclass
class Server:
    """A server, and the proxy by which a fleet reaches it."""

    postgresql: PostgreSQL
    proxy: Proxy

    @property
    def url(self) -> str:
        return f"postgresql://fleet@127.0.0.1:{self.proxy.port}/fleet"

    def rows(self, sql: str) -> list[list[str]]:
        found = self.postgresql.sql(sql, "fleet")
        return [line.split("|") for line in found.splitlines()]

    def set_read_only(self, on: str) -> None:
        self.postgresql.sql(f"ALTER SYSTEM SET default_transaction_read_only = {on}")
        self.postgresql.sql("SELECT pg_reload_conf()")


type Fault = Callable[[Server], AbstractContextManager[None]]


@contextmanager
def frozen(server: Server) -> Iterator[None]:
    """The server takes connections and answers nothing."""
    server.postgresql.freeze()
    try:
        yield
    finally:
        server.postgresql.thaw()


@contextmanager
def swallowed(server: Server) -> Iterator[None]:
    """Packets vanish; later, new connections reach the server, and old ones stay silent."""
    server.proxy.set("hang")
    try:
        yield
    finally:
        server.proxy.cut()
        server.proxy.set("open")


@contextmanager
def cut(server: Server) -> Iterator[None]:
    """All connections are ended, again and again, by a server that runs."""
    for _ in range(8):
        server.postgresql.sql(CUT)
        time.sleep(0.1)
    yield


@contextmanager
def restarted(server: Server) -> Iterator[None]:
    server.postgresql.stop()
    try:
        yield
    finally:
        server.postgresql.start()


@contextmanager
def read_only(server: Server) -> Iterator[None]:
    """It takes no writes, as a standby until it is promoted."""
    server.set_read_only("on")
    try:
        yield
    finally:
        server.set_read_only("off")


@contextmanager
def locked(server: Server) -> Iterator[None]:
    """Somebody holds locks that all statements need."""
    with psycopg.connect(server.postgresql.url("fleet")) as session:
        session.execute("LOCK TABLE chat_run, chat_conversation, chat_session")
        yield


@contextmanager
def failed_over(server: Server) -> Iterator[None]:
    """The server dies. Its address leads to the standby, which takes no writes until later."""
    primary = server.postgresql
    standby = primary.standby()
    primary.stop("fast")
    server.proxy.target = standby.port
    server.proxy.cut()
    server.postgresql = standby
    try:
        yield
    finally:
        standby.promote()
        standby.sql("ALTER SYSTEM RESET ALL")
        standby.sql("SELECT pg_reload_conf()")


@contextmanager
def full(server: Server) -> Iterator[None]:
    """There is no room for a new row, or for a new version of one."""
    tables = ("chat_run", "chat_message", "chat_conversation", "chat_stepresult", "chat_tries")
    server.postgresql.sql(
        "CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION"
        " 'could not extend file: No space left on device' USING ERRCODE = '53100'; END $$;"
        + "".join(
            f"CREATE TRIGGER full_disk BEFORE INSERT OR UPDATE ON {table}"
            " FOR EACH STATEMENT EXECUTE FUNCTION full_disk();"
            for table in tables
        ),
        "fleet",
    )
    try:
        yield
    finally:
        server.postgresql.sql("DROP FUNCTION full_disk CASCADE", "fleet")
