"""Django's backend with the connections of this package, in processes that serve."""

from typing import Any, ClassVar

from django.db.backends.base.base import NO_DB_ALIAS
from django.db.backends.postgresql import base

from . import IS_SERVING
from .connections import Connection, Pool

# In milliseconds, unless the role, the database or DATABASE_URL has others. Readers are told of a
# fault within 6 s. A worker that is frozen within a transaction holds its locks no longer.
LIMITS = {
    "statement_timeout": 5000,
    "lock_timeout": 4000,
    "idle_in_transaction_session_timeout": 30_000,
}
# Seconds that the server has in addition to stop a statement by itself, which says more.
GRACE = 0.5
# Statements, because poolers such as PgBouncer refuse limits as options of a connection.
LIMITS_IN_FORCE = "SELECT name, setting FROM pg_settings WHERE name = ANY(%s)"
SET_LIMIT = "SELECT set_config(%s, %s, false)"


class DatabaseWrapper(base.DatabaseWrapper):
    # By alias and name: tests have a database of their own under the same alias.
    pools: ClassVar[dict[tuple[str, str], Pool]] = {}

    @property
    def pool(self) -> Pool | None:
        """The connections to take one of; None if each is made for itself."""
        if self.alias == NO_DB_ALIAS or not IS_SERVING.is_set():
            return None
        key = (self.alias, self.settings_dict["NAME"])
        return self.pools.get(key) or self.pools.setdefault(key, Pool(self.new_connection))

    def close_pool(self) -> None:
        if pool := self.pool:
            pool.close()

    def new_connection(self) -> Connection:
        """Return a connection with LIMITS, which a clock here watches, too."""
        connection = Connection.connect(**{**self.get_connection_params(), "autocommit": True})
        connection.patience = LIMITS["statement_timeout"] / 1000 + GRACE
        try:
            self.limit(connection)
            self._configure_connection(connection)  # type: ignore[attr-defined]
        except BaseException:
            connection.close()
            raise
        return connection

    def limit(self, connection: Connection) -> None:
        with connection.cursor() as cursor:
            in_force = dict(cursor.execute(LIMITS_IN_FORCE, [list(LIMITS)]).fetchall())
            for name, limit in LIMITS.items():
                if in_force[name] == "0":
                    cursor.execute(SET_LIMIT, [name, str(limit)])
        if longest := int(in_force["statement_timeout"]):
            connection.patience = longest / 1000 + GRACE

    def _close(self) -> Any:
        connection = self.connection
        if isinstance(connection, Connection) and connection.pool:
            self.connection = None
            connection.pool.putconn(connection)
            return None
        if connection is not None:
            with self.wrap_database_errors:
                connection.close()
        return None
