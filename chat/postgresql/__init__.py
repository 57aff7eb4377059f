"""Django's backend for PostgreSQL, with deadlines and kept connections in processes that serve.

In commands such as `migrate` or `prune` it is Django's own: they may take as long as they need.
"""

import select
from threading import Event

# Set in processes that serve pages and sockets.
IS_SERVING = Event()


def is_closed_by_server(socket: int) -> bool:
    """Return True if the server has closed this idle connection. Send nothing.

    To an idle connection a server says why it closes it, or nothing.
    """
    poll = select.poll()
    poll.register(socket, select.POLLIN)
    return bool(poll.poll(0))
