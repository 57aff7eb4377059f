"""The table of all routes: requests are dispatched by it, and the contract is made of it.

Each door has its own part of the table beside its functions.
"""

from collections.abc import Sequence

from . import history, mcp, me, runs
from .agui import door as agui
from .calls import Route
from .contract import serving
from .openai import completions, models
from .responses import responses

# Paths that begin so are answered here, and never by Django.
PREFIXES = ("/v1/", "/api/v1/", "/agui", "/mcp")

ROUTES: Sequence[Route] = (
    *agui.ROUTES,
    mcp.ROUTE,
    *completions.ROUTES,
    *models.ROUTES,
    *responses.ROUTES,
    *runs.ROUTES,
    *history.ROUTES,
    *me.ROUTES,
    *serving.ROUTES,
)
