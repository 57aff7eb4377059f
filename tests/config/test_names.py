"""Names in fleet.toml that must be those of something: tools, models, agents."""

import pytest
from django.core.checks import run_checks
from django.core.exceptions import ImproperlyConfigured
from pytest_django import Settings

from chat.checks import TOOLS_TAG, refuse_unknown_names
from tests.configs import Configure
from tooling.known import TOOLS

AGENT = "[agents.lawyer]\nrole = 'r'\ninstructions = 'i'\n"
SHOP = "[mcp.shop]\ncommand = ['shop-mcp']\n"
OFF = "[tools.clock]\nenabled = false\n"
STOCK = '''
from tooling import tool

@tool(timeout=5, light=False)
async def stock(article: str) -> str:
    """How many of an article are in stock."""
    return "7"
'''


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            f"{AGENT}tools = ['clock',\n 'web_serch']",
            'line 4: agents.lawyer.tools, item 2: there is no tool "web_serch"; did you mean'
            " web_search?",
        ),
        (
            f"{AGENT}tools = ['teleport']",
            'line 4: agents.lawyer.tools, item 1: there is no tool "teleport"; there are'
            " calculator, clock, read_page, web_search, ask_person, stock.",
        ),
        (
            f"{AGENT}tools = ['web_s*r']\n{SHOP}",
            'line 4: agents.lawyer.tools, item 1: there is no tool "web_s*r"; did you mean',
        ),
        (
            f"{AGENT}tools = ['shoop__*']\n{SHOP}",
            'line 4: agents.lawyer.tools, item 1: there is no tool "shoop__*"; there are',
        ),
        (
            f"{AGENT}tools = ['shop__']\n{SHOP}",
            'line 4: agents.lawyer.tools, item 1: there is no tool "shop__"; there are',
        ),
        (
            "[agents.assistant]\ntools = ['clock', 'stock']",
            'line 2: agents.assistant.tools, item 2: the tool "stock" is not for the light path:'
            " it says light=False.",
        ),
        ("[tools.stok]\ntimeout = 3", "line 1: tools.stok: there is no such tool; did you mean"),
        (
            f"{AGENT}model = 'fsat'\n[models.fast]\nmodel = 'm'",
            "line 4: agents.lawyer.model: there is no [models.fsat]; did you mean fast?",
        ),
        (f"{AGENT}model = 'gpt'", "line 4: agents.lawyer.model: there is no [models.gpt]."),
    ],
)
def test_unknown_name_is_refused(configure: Configure, text: str, said: str) -> None:
    configure(text, STOCK)
    with pytest.raises(ImproperlyConfigured) as refused:
        refuse_unknown_names()
    assert f"fleet.toml, {said}" in str(refused.value)


@pytest.mark.parametrize(
    "text",
    [
        f"{AGENT}tools = ['stock', 'clo*', 'shop__read', 'shop__*', 'sh*']\n{SHOP}",
        f"{AGENT}tools = ['shop__read']\n{SHOP}enabled = false",
        f"{AGENT}tools = ['clock']\n{OFF}",
        f"{OFF}[tools.shop__read]\napprover = 'owner'\n{SHOP}",
        f"{AGENT}tools = []",
    ],
)
def test_known_name_is_taken(configure: Configure, text: str) -> None:
    configure(text, STOCK)
    refuse_unknown_names()


def test_tool_that_is_switched_off_is_gone(configure: Configure) -> None:
    configure(OFF)
    assert "clock" not in TOOLS
    assert run_checks(tags=[TOOLS_TAG]) == []


def test_approval_may_name_a_tool_of_a_server(configure: Configure, settings: Settings) -> None:
    configure(f"{OFF}{SHOP}")
    settings.FLEET_APPROVE = frozenset({"shop__buy", "clock"})
    assert run_checks(tags=[TOOLS_TAG]) == []
    settings.FLEET_APPROVE = frozenset({"shoop__buy"})
    [error] = run_checks(tags=[TOOLS_TAG])
    assert error.id == "chat.E003"
