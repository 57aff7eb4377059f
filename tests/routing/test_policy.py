"""Routes: thresholds, modes, tools and caps; the stored decisions and their page in the admin."""

import uuid
from datetime import timedelta
from typing import ClassVar

import pytest
from django.core.checks.registry import registry
from django.core.management import CommandError, call_command
from django.test import Client
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries, Settings

from chat.admin.decisions import DAYS
from routing import policy
from routing.checks import weights_can_be_read
from routing.classifier import Classifier, Judgement
from routing.models import Outcome, Routed, RoutingDecision, text_hash
from routing.policy import Path, caps_of, choose, classifier
from routing.preferences import Preference
from tooling.known import TOOLS, exact_tools, phrases_of


class Fixed:
    """A classifier that is always this sure of the light path."""

    threshold = 0.6
    thresholds: ClassVar = {"economy": 0.4, "balanced": 0.6, "quality": 0.8}

    def __init__(self, light: float) -> None:
        self.light = light

    def judge(self, text: str, context: object = (), answered: object = None) -> Judgement:
        return Judgement(self.light, ("a", "b", "c"), {"words": 3.0}, core=text)


def sure(monkeypatch: pytest.MonkeyPatch, light: float) -> None:
    monkeypatch.setattr(policy, "classifier", lambda: Fixed(light))


@pytest.fixture(autouse=True)
def _own_threshold(settings: Settings) -> None:
    settings.FLEET_LIGHT_THRESHOLD = None


@pytest.mark.parametrize(
    ("light", "mode", "path"),
    [
        (0.61, "auto", "light"),
        (0.60, "auto", "light"),
        (0.59, "auto", "full"),
        (0.01, "light", "light"),
        (0.99, "full", "full"),
    ],
)
def test_mode_or_threshold_decides_the_path(
    monkeypatch: pytest.MonkeyPatch, light: float, mode: policy.Mode, path: Path
) -> None:
    sure(monkeypatch, light)
    route = choose("anything", mode=mode)
    assert route.path == path
    assert route.confidence == light
    assert route.caps == caps_of(path)
    assert route.reasons


@pytest.mark.parametrize(
    ("text", "tools"),
    [
        ("what is 12 * 7", ("calculator",)),
        ("how many miles is 10 km in miles", ("calculator",)),
        ("what is 15% of 80", ("calculator",)),
        ("what time is it in Tokyo?", ("clock",)),
        ("Hello, what time is it in 12 / 7 hours? Thanks", ("calculator",)),
        ("bitcoin price", ("web_search",)),
        ("weather in Oslo tomorrow", ("web_search",)),
        ("What's the capital of Peru?", ()),
    ],
)
def test_route_names_the_tool_that_a_question_obviously_needs(
    text: str, tools: tuple[str, ...]
) -> None:
    exact = exact_tools(TOOLS, text)
    assert choose(text, phrases=phrases_of(TOOLS), exact=exact).tools == tools
    assert choose(text).tools == ()


@pytest.mark.parametrize(
    ("light", "preference", "path", "reason"),
    [
        (0.5, "economy", "light", "you prefer economy, and one agent may be enough"),
        (0.5, "balanced", "full", "a"),
        (0.7, "balanced", "light", "a"),
        (0.7, "quality", "full", "you prefer quality, and one agent may not be enough"),
        (0.9, "quality", "light", "a"),
        (0.1, "economy", "full", "a"),
    ],
)
def test_preference_moves_the_threshold(
    monkeypatch: pytest.MonkeyPatch, light: float, preference: Preference, path: Path, reason: str
) -> None:
    sure(monkeypatch, light)
    route = choose("anything", preference=preference)
    assert (route.path, route.reasons[0]) == (path, reason)
    for mode in ("light", "full"):
        assert choose("anything", preference=preference, mode=mode).path == mode


def test_preferences_of_the_weights_are_in_their_order() -> None:
    found = [policy.threshold_of(each) for each in ("economy", "balanced", "quality")]
    assert found == sorted(found)
    assert 0.15 < found[0] < found[1] == classifier().threshold < found[2] < 0.9


def test_grey_zone_is_around_the_threshold_of_a_preference(monkeypatch: pytest.MonkeyPatch) -> None:
    for preference in ("economy", "balanced", "quality"):
        sure(monkeypatch, policy.threshold_of(preference))
        assert choose("anything", preference=preference).is_grey
    sure(monkeypatch, 0.6)
    assert not choose("anything", preference="economy").is_grey
    assert not choose("anything", preference="quality").is_grey


def test_setting_counts_for_all_preferences(
    monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    sure(monkeypatch, 0.5)
    assert policy.may_prefer()
    settings.FLEET_LIGHT_THRESHOLD = 0.55
    assert not policy.may_prefer()
    for preference in ("economy", "balanced", "quality"):
        assert choose("anything", preference=preference).path == "full"


@pytest.mark.parametrize(
    ("light", "is_sure"), [(0.85, True), (0.84, False), (0.16, False), (0.15, True)]
)
def test_route_is_sure_far_from_the_middle(
    monkeypatch: pytest.MonkeyPatch, light: float, is_sure: bool
) -> None:
    sure(monkeypatch, light)
    assert choose("anything").is_sure == is_sure


def test_setting_replaces_the_classifiers_threshold(
    monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    sure(monkeypatch, 0.61)
    settings.FLEET_LIGHT_THRESHOLD = 0.62
    route = choose("anything")
    assert route.path == "full"
    assert route.reasons == ("the threshold that is set here says so",)
    settings.FLEET_LIGHT_THRESHOLD = 0
    assert choose("anything").path == "light"


@pytest.mark.parametrize(("mode", "path"), [("auto", "full"), ("light", "light"), ("full", "full")])
def test_light_mode_still_takes_the_light_path_if_it_is_off_in_auto(
    monkeypatch: pytest.MonkeyPatch, settings: Settings, mode: policy.Mode, path: Path
) -> None:
    sure(monkeypatch, 0.99)
    settings.FLEET_LIGHT_MODE = False
    assert choose("anything", mode=mode).path == path


@pytest.mark.parametrize(
    ("light", "mode", "on", "grey"),
    [
        (0.5, "auto", True, True),
        (0.4, "auto", True, True),
        (0.7, "auto", True, False),
        (0.39, "auto", True, False),
        (0.5, "light", True, False),
        (0.5, "full", True, False),
        (0.5, "auto", False, False),
    ],
)
def test_route_is_grey_between_the_two_settings(
    monkeypatch: pytest.MonkeyPatch,
    settings: Settings,
    light: float,
    mode: policy.Mode,
    on: bool,
    grey: bool,
) -> None:
    sure(monkeypatch, light)
    monkeypatch.setattr(policy, "GREY_ZONE", (0.4, 0.7))
    settings.FLEET_LIGHT_MODE = on
    assert choose("anything", mode=mode).is_grey == grey


def test_opinion_changes_path_caps_and_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    sure(monkeypatch, 0.5)
    route = choose("anything").with_opinion("light", "it said so")
    assert route.path == "light"
    assert route.caps == caps_of("light")
    assert route.reasons == ("it said so", "a", "b")


def test_escalation_changes_path_caps_and_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    sure(monkeypatch, 0.9)
    route = choose("anything").escalated("it was empty")
    assert route.path == "full"
    assert route.caps == caps_of("full")
    assert route.reasons == ("it was empty",)
    assert route.confidence == 0.9


def test_caps_come_from_the_settings(settings: Settings) -> None:
    assert caps_of("light") == settings.FLEET_LIGHT_CAPS
    assert caps_of("full") == settings.FLEET_FULL_CAPS
    assert caps_of("light") != caps_of("full")


def test_check_reports_broken_weights(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    broken = tmp_path / "router.tsv"
    broken.write_text("nonsense\n")
    monkeypatch.setattr("routing.checks.classifier", lambda: Classifier.load(broken))
    assert weights_can_be_read in registry.get_checks()
    [error] = weights_can_be_read()
    assert str(broken) in error.msg
    assert "\n" not in error.msg


def test_fleet_does_not_start_with_broken_weights(
    monkeypatch: pytest.MonkeyPatch, tmp_path
) -> None:
    def broken() -> Classifier:
        return Classifier.load(tmp_path / "gone.tsv")

    monkeypatch.setattr("agenticfleet.management.commands.fleet.classifier", broken)
    with pytest.raises(CommandError, match=r"gone\.tsv"):
        call_command("fleet", port=0)


# --- The record -----------------------------------------------------------------------------------


def record(
    monkeypatch: pytest.MonkeyPatch,
    text: str = "What is it?",
    *,
    light: float = 0.9,
    escalated: bool = False,
    tokens: int = 100,
    asked: bool = False,
    outcome: Outcome = "completed",
) -> RoutingDecision:
    sure(monkeypatch, light)
    route = choose(text)
    routed = Routed(
        text, "auto", route.with_opinion("light", "it said so") if asked else route, escalated
    )
    return RoutingDecision.objects.record(uuid.uuid4(), routed, outcome=outcome, tokens=tokens)


def test_text_hash_is_equal_for_equal_texts_and_reveals_none() -> None:
    assert text_hash("What  is it?\n") == text_hash("what is IT?")
    assert text_hash("What is it?") != text_hash("What was it?")
    assert len(text_hash("x")) == 16


@pytest.mark.django_db
def test_rating_can_be_stored_changed_and_removed(monkeypatch: pytest.MonkeyPatch) -> None:
    decision = record(monkeypatch)
    for rating in (1, -1, None):
        assert RoutingDecision.objects.rate(decision.pk, rating)
        decision.refresh_from_db()
        assert decision.rating == rating
    assert not RoutingDecision.objects.rate(uuid.uuid4(), 1)


@pytest.mark.django_db
def test_admin_counts_by_day_and_estimates_the_saving(
    monkeypatch: pytest.MonkeyPatch,
    admin_client: Client,
    django_assert_max_num_queries: DjangoAssertNumQueries,
) -> None:
    record(monkeypatch, tokens=100)
    regretted = record(monkeypatch, tokens=300)
    RoutingDecision.objects.rate(regretted.pk, -1)
    record(monkeypatch, light=0.1, tokens=2000)
    record(monkeypatch, escalated=True, tokens=2400, asked=True)
    record(monkeypatch, tokens=7, outcome="failed")
    record(monkeypatch, tokens=7, outcome="cancelled")
    page = admin_client.get("/admin/routing/routingdecision/")
    [day] = page.context["summary"].days
    assert (day.questions, day.light, day.escalated, day.forced) == (6, 4, 1, 0)
    assert (day.asked, page.context["summary"].total.asked) == (1, 1)
    assert (day.light_down, day.light_rated) == (1, 1)
    assert day.tokens_saved == 2 * 2000 - 400, "what failed or was cancelled saved nothing"
    assert page.context["summary"].total.tokens_saved == day.tokens_saved
    assert "1,900" in page.content.decode()
    assert "1,993" not in page.content.decode()
    with django_assert_max_num_queries(15):
        admin_client.get("/admin/routing/routingdecision/")


@pytest.mark.django_db
def test_admin_shows_whole_days_only(monkeypatch: pytest.MonkeyPatch, admin_client: Client) -> None:
    midnight = timezone.now().replace(hour=0, minute=0, second=0, microsecond=0)
    for created_at in (
        midnight - timedelta(days=DAYS - 1),
        midnight - timedelta(days=DAYS - 1, seconds=1),
    ):
        RoutingDecision.objects.filter(pk=record(monkeypatch).pk).update(created_at=created_at)
    [day] = admin_client.get("/admin/routing/routingdecision/").context["summary"].days
    assert (day.date, day.questions) == ((midnight - timedelta(days=DAYS - 1)).date(), 1)


@pytest.mark.django_db
def test_admin_page_works_without_decisions(admin_client: Client) -> None:
    assert admin_client.get("/admin/routing/routingdecision/").status_code == 200


@pytest.mark.django_db
@pytest.mark.parametrize(
    "query",
    [
        "path=light",
        "path=escalated",
        "asked=1",
        "rating=down",
        "mode=auto",
        "q=abc",
    ],
)
def test_admin_list_can_be_filtered(
    monkeypatch: pytest.MonkeyPatch, admin_client: Client, query: str
) -> None:
    record(monkeypatch)
    assert admin_client.get(f"/admin/routing/routingdecision/?{query}").status_code == 200
    assert (
        admin_client.get(
            f"/admin/routing/routingdecision/{RoutingDecision.objects.get().pk}/change/"
        ).status_code
        == 200
    )
