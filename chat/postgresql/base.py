"""Django's backend with the connections of this package, in processes that serve."""

from collections.abc import Mapping
from typing import Any, ClassVar

from django.db.backends.base.base import NO_DB_ALIAS
from django.db.backends.postgresql import base

from . import IS_SERVING
from .connections import Connection, Pool

# Seconds that the server has in addition to stop a statement by itself, which says more.
GRACE = 0.5
SET = "SELECT " + ", ".join(["set_config(%s, %s, false)"] * 3)


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
        """Return a connection with the limits of DATABASE_URL, by the server and by a clock here.

        They are set by a statement: poolers such as PgBouncer refuse them as options.
        """
        limits: Mapping[str, int] = self.settings_dict["LIMITS"]
        connection = Connection.connect(**{**self.get_connection_params(), "autocommit": True})
        if longest := limits["statement_timeout"]:
            connection.patience = longest / 1000 + GRACE
        try:
            connection.execute(SET, [str(each) for limit in limits.items() for each in limit])
            self._configure_connection(connection)  # type: ignore[attr-defined]
        except BaseException:
            connection.close()
            raise
        return connection

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
