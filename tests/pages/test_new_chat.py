"""The page of a new chat, and what all pages have in common."""

import json
import re
from html import unescape

import pytest
from django.contrib.staticfiles import finders
from django.template.loader import get_template
from django.test import Client
from pytest_django import Settings

from chat.better_model import ways
from chat.choices import EXAMPLES
from chat.workflow.stand_in import reason_to_decline
from routing.classifier import Classifier
from tests.configs import Configure
from tooling.known import TOOLS, exact_tools

from .conversations import (
    address,
    conversation_of,
    page,
    run_of,
)

pytestmark = pytest.mark.django_db


def test_new_chat_offers_four_questions_and_names_the_model(
    client: Client, settings: Settings
) -> None:
    settings.FLEET_MODEL_IS_STAND_IN = False
    settings.FLEET_LIGHT_MODEL = "some-model"
    html = page(client, "/")
    assert html.count("data-example=") == 4
    assert "some-model" in html
    assert "stand-in" not in html


def test_stand_in_is_named_once_with_the_ways_to_a_better_model(
    client: Client, settings: Settings
) -> None:
    settings.FLEET_MODEL_IS_STAND_IN = settings.FLEET_IS_LOCAL = True
    html = page(client, "/", Host="localhost")
    assert html.count("only a stand-in") == 1
    assert "SmolLM2 (built-in)" in html
    box = html.split('id="better-model"')[1].split("</section>")[0]
    assert all(name in box for name in ("manage.py fetch_model", "OPENAI_API_KEY"))
    assert box.count('data-copy="details"') == len(ways())


def test_stand_in_offers_no_team_and_questions_that_it_can_answer(
    client: Client, settings: Settings
) -> None:
    settings.FLEET_MODEL_IS_STAND_IN = True
    html = page(client, "/")
    assert 'data-mode-choice="full"' not in html
    assert "The team needs a better model" in html
    questions = [unescape(found) for found in re.findall('data-example="(.*?)"', html)]
    assert len(questions) == 4
    assert all(exact_tools(TOOLS, question) for question in questions[:3])
    assert not any(reason_to_decline(question, max_tokens=1200) for question in questions)


def test_server_that_was_found_on_this_machine_is_named(client: Client, settings: Settings) -> None:
    settings.FLEET_LIGHT_MODEL = settings.FLEET_MODEL = "qwen3.5:4b"
    settings.FLEET_MODEL_SERVER = "Ollama"
    assert "<strong>qwen3.5:4b</strong>, by Ollama on this machine." in page(client, "/")


def test_models_of_both_paths_are_named_if_they_differ(client: Client, settings: Settings) -> None:
    settings.FLEET_MODEL_IS_STAND_IN = False
    settings.FLEET_LIGHT_MODEL, settings.FLEET_MODEL = "small-model", "large-model"
    html = page(client, "/")
    foot = html.split('class="sidebar-foot"')[1].split('class="account"')[0]
    assert "small-model" in foot
    assert "large-model" in foot
    settings.FLEET_MODELS = {"large-model": "Large and named"}
    assert "Full team</span> Large and named" in page(client, "/")
    settings.FLEET_LIGHT_MODEL = "large-model"
    assert "Full team</span> large-model" not in page(client, "/")


def test_missing_search_is_explained_once_on_a_new_chat(client: Client, settings: Settings) -> None:
    settings.FLEET_SEARCH, settings.FLEET_IS_LOCAL = "off", True
    html = page(client, "/", Host="localhost")
    assert html.count("Web search is off") == 1
    assert "FLEET_SEARCH=keyless" in html
    chat = conversation_of(client)
    assert "Web search is off" not in page(client, address(chat))
    settings.FLEET_SEARCH = "on"
    assert "Web search is off" not in page(client, "/")


def test_model_can_be_chosen_if_there_is_more_than_one(client: Client, settings: Settings) -> None:
    settings.FLEET_MODEL = settings.FLEET_LIGHT_MODEL = "one"
    assert 'data-choice="model"' not in page(client, "/")
    settings.FLEET_MODELS = {"one": ""}
    assert 'data-choice="model"' not in page(client, "/")
    settings.FLEET_MODELS = {"two": "<b>Two</b>", "one": ""}
    menu = page(client, "/").split('data-choice="model"')[1].split("</section>")[0]
    found = re.findall('data-value="(.*?)" data-name="(.*?)".*?\\s+aria-pressed="(.*?)"', menu)
    assert found == [
        ("", "Auto", "true"),
        ("two", "&lt;b&gt;Two&lt;/b&gt;", "false"),
        ("one", "one", "false"),
    ]
    assert "<b>" not in menu
    settings.FLEET_MODEL_IS_STAND_IN = True
    assert 'data-choice="model"' not in page(client, "/")


def test_models_of_the_file_can_be_chosen_beside_the_stand_in(
    client: Client, settings: Settings, configure: Configure
) -> None:
    configure('[models."Qwen at home"]\nmodel = "qwen3:8b"\nbase_url = "http://gpu:11434/v1"')
    settings.FLEET_MODEL_IS_STAND_IN = True
    menu = page(client, "/").split('data-choice="model"')[1].split("</section>")[0]
    found = re.findall('data-value="(.*?)" data-name="(.*?)"', menu)
    assert found == [
        ("", "Auto"),
        ("scripted", "SmolLM2 (built-in)"),
        ("Qwen at home", "Qwen at home"),
    ]
    assert "gpu:11434" not in page(client, "/")


def test_long_list_of_models_can_be_searched(client: Client, settings: Settings) -> None:
    settings.FLEET_MODELS = {f"m{n}": "" for n in range(8)}
    assert "Search models" not in page(client, "/")
    settings.FLEET_MODELS = {f"m{n}": "" for n in range(9)}
    assert "Search models" in page(client, "/")


def test_mode_can_be_chosen_and_is_auto_by_default(client: Client) -> None:
    menu = page(client, "/").split('data-choice="mode"')[1].split("</section>")[0]
    assert [part.split('"')[0] for part in menu.split('data-value="')[1:]] == [
        "auto",
        "light",
        "full",
    ]
    assert (
        menu.index('data-value="auto"')
        < menu.index('aria-pressed="true"')
        < menu.index('data-value="light"')
    )
    assert menu.count('aria-pressed="true"') == 1


def test_pages_respect_the_content_security_policy(client: Client) -> None:
    chat = conversation_of(client)
    run_of(chat, answer="# Hi\n\n```py\nx\n```\n\n| a |\n|--:|\n| 1 |")
    for path in ("/", address(chat), "/login/", "/c/nowhere/"):
        response = client.get(path)
        html = response.content.decode()
        assert "unsafe" not in response.headers["Content-Security-Policy"]
        assert " style=" not in html
        assert "<style" not in html
        assert not [
            part
            for part in html.split("<script")[1:]
            if not part.startswith(" src=") and not part.startswith(' type="module" src=')
        ]
        assert " onclick=" not in html


def test_htmx_is_configured_to_run_no_scripts(client: Client) -> None:
    config = json.loads(page(client, "/").split('name="htmx-config" content=\'')[1].split("'")[0])
    assert config["allowEval"] is False
    assert config["allowScriptTags"] is False
    assert config["selfRequestsOnly"] is True
    assert config["includeIndicatorStyles"] is False


def test_static_files_of_a_page_exist(client: Client) -> None:
    named = {part.split('"')[0].split("#")[0] for part in page(client, "/").split('"/static/')[1:]}
    assert "chat/stream.js" in named
    assert [name for name in named if not finders.find(name)] == []
    assert finders.find("vendor/reconnecting-websocket/reconnecting-websocket.mjs")
    assert finders.find("vendor/reconnecting-websocket/LICENSE")


def test_missing_page_links_to_the_start(client: Client) -> None:
    response = client.get("/nowhere/")
    assert response.status_code == 404
    assert 'href="/"' in response.content.decode()
    assert "server's log" in get_template("500.html").render()


def test_examples_take_the_path_of_their_labels() -> None:
    classifier = Classifier.load()
    for example in EXAMPLES:
        is_light = classifier.judge(str(example["question"])).light >= classifier.threshold
        assert is_light == (example["label"] == "Quick"), example
