"""Tools in figures and metrics: looked up when they are used, and under few names."""

from collections.abc import Iterator

import pytest

from chat.telemetry.tools import exists, grouped, is_cached
from tests.configs import Configure

STOCK = '''
from tooling import tool

@tool
def stock(article: str) -> str:
    """Return the stock of an article."""
    return "7"
'''
SHOP = """
[mcp.shop]
command = ["shop"]
cache = ["search*"]

[tools.clock]
enabled = false
"""


@pytest.fixture(autouse=True)
def _owner(configure: Configure) -> Iterator[None]:
    configure(SHOP, STOCK)
    return


@pytest.mark.parametrize(
    ("tool", "label", "is_there", "keeps"),
    [
        ("web_search", "web_search", True, True),
        ("stock", "stock", True, False),
        ("clock", "clock", True, False),
        ("no_such_tool", "no_such_tool", False, False),
        ("shop__search_all", "shop__*", True, True),
        ("shop__order", "shop__*", True, False),
        ("other__order", "other__*", False, False),
    ],
)
def test_tools_of_the_owner_have_names_and_those_of_a_server_one_together(
    tool: str, label: str, is_there: bool, keeps: bool
) -> None:
    assert (grouped(tool), exists(tool), is_cached(tool)) == (label, is_there, keeps)
