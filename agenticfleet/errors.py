"""How a fleet or one of its services fails to start."""


class EmbeddedError(Exception):
    """Raised when a service cannot be started or found, with one line for the operator."""
