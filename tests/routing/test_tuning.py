"""What comparisons say of the router, and the thresholds that are proposed from them."""

import json
import math
import random
import uuid
from dataclasses import replace
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone
from pytest_django import Settings

from routing import tuning
from routing.intervals import Mean, Share
from routing.models import Comparison, RoutingDecision
from routing.policy import classifier
from routing.reasons import LIGHT_IS_OFF, NO_TEAM, ONE_CALL
from routing.regret import Compared, Regret, bands_of, weights_digest
from routing.tuning import (
    MIN_COMPARED,
    Calibration,
    Sample,
    Thumb,
    TooFew,
    best_threshold,
    expected_at,
    proposals,
    samples_of,
)


def compared(
    path: str, confidence: float, verdict: str, rating: int | None = None, light: int = 100
) -> Compared:
    tokens = (light, 1400) if path == "light" else (1400, light)
    return Compared(path, confidence, verdict, *tokens, rating)


# --- Intervals


@pytest.mark.parametrize(
    ("part", "whole", "low", "high"),
    # From R: prop.test(part, whole, correct = FALSE)
    [
        (0, 10, 0.0, 0.2775),
        (1, 10, 0.0179, 0.4042),
        (5, 10, 0.2366, 0.7634),
        (10, 10, 0.7225, 1.0),
        (50, 1000, 0.0381, 0.0653),
        (0, 0, 0.0, 1.0),
    ],
)
def test_interval_of_a_share_is_wilsons(part: int, whole: int, low: float, high: float) -> None:
    assert Share.of(part, whole).interval == pytest.approx((low, high), abs=0.0002)


def test_interval_has_the_true_share_about_19_times_of_20() -> None:
    chance = random.Random(5)
    hits = 0
    for _ in range(2000):
        found = Share.of(sum(chance.random() < 0.1 for _ in range(60)), 60)
        low, high = found.interval
        hits += low <= 0.1 <= high
    assert 0.93 < hits / 2000 < 0.98


def test_weights_that_differ_say_less_than_equal_ones() -> None:
    equal = tuning.share_of([Sample(0.5, True, 1, 2, weight=3)] * 10, lambda each: True)
    assert (equal.value, equal.size) == (1, pytest.approx(10))
    mixed = [Sample(0.5, True, 1, 2, weight=weight) for weight in (1, 1, 1, 27)]
    assert tuning.share_of(mixed, lambda each: True).size < 2


def test_mean_has_an_interval_from_two_values_on() -> None:
    assert Mean.of([5]) == Mean(None, None)
    found = Mean.of([1, 2, 3, 4])
    assert found.value == 2.5
    assert found.reach == pytest.approx(1.96 * math.sqrt(5 / 3 / 4))


# --- Regret


def test_regret_is_what_the_other_path_would_have_done_better() -> None:
    rows = [
        *[compared("light", 0.9, "better")] * 6,
        *[compared("light", 0.9, "tie")] * 2,
        *[compared("light", 0.9, "worse")] * 2,
        *[compared("full", 0.2, "better")] * 5,
        *[compared("full", 0.2, "tie")] * 4,
        *[compared("full", 0.2, "worse")] * 1,
    ]
    found = Regret.of(rows)
    assert (found.light.value, found.full.value, found.needless.value) == (0.2, 0.1, 0.5)
    assert found.saved.value == found.wasted.value == 1300
    assert [(band.start, band.end) for band in bands_of(rows)] == [(0.15, 0.3), (0.85, 1.0)]


def test_every_confidence_is_in_one_band() -> None:
    rows = [compared("light", number / 100, "tie") for number in range(101)]
    assert sum(band.regret.light.whole for band in bands_of(rows)) == 101


@pytest.mark.parametrize(
    ("path", "verdict", "rating", "needs_full"),
    [
        ("light", "worse", None, True),
        ("light", "tie", None, False),
        ("light", "better", None, False),
        ("full", "better", None, True),
        ("full", "tie", None, False),
        ("full", "worse", None, False),
        # A person knows better than the judge, of the answer that they read.
        ("light", "worse", 1, False),
        ("light", "better", -1, True),
        ("full", "tie", 1, False),
        ("full", "better", -1, True),
    ],
)
def test_what_needs_the_full_path(
    path: str, verdict: str, rating: int | None, needs_full: bool
) -> None:
    assert compared(path, 0.5, verdict, rating).needs_full is needs_full


# --- Thresholds


def traffic(count: int = 1500, *, seed: int = 1, light: float = 100) -> list[Sample]:
    """Return questions of which as many need the full path as the confidence says."""
    chance = random.Random(seed)
    confidences = [chance.random() for _ in range(count)]
    return [Sample(each, chance.random() > each, light, 1400) for each in confidences]


def test_threshold_is_where_an_error_costs_what_it_saves() -> None:
    samples = traffic(40_000)
    # Light is worth it if (1 - confidence) * price * 1400 < 1300.
    for price, threshold in ((1, 0.07), (3, 0.69), (10, 0.91)):
        assert best_threshold(samples, price) == pytest.approx(threshold, abs=0.05)


def test_threshold_costs_hardly_more_than_the_best_one() -> None:
    samples = traffic(3000)
    mean = math.fsum(each.full_tokens for each in samples) / len(samples)

    def cost(threshold: float) -> float:
        poor = sum(each.needs_full for each in samples if each.confidence >= threshold)
        return expected_at(threshold, samples).tokens * len(samples) + 3 * mean * poor

    least = min(cost(number / 100) for number in range(1, 100))
    assert cost(best_threshold(samples, 3)) < 1.01 * least


def test_threshold_is_higher_if_the_classifier_was_too_sure() -> None:
    chance = random.Random(2)
    # Of .9 it means that every third needs the full path.
    rows = [
        Sample(confidence, chance.random() > confidence**3.5, 100, 1400)
        for confidence in (chance.random() for _ in range(5000))
    ]
    assert best_threshold(rows, 3) > best_threshold(traffic(5000), 3) + 0.1


def test_equal_weights_say_no_more_than_none() -> None:
    rows = traffic(200)
    heavy = [replace(each, weight=50) for each in rows]
    assert best_threshold(heavy, 3) == best_threshold(rows, 3)
    plain, other = Calibration.of(rows), Calibration.of(heavy)
    assert (plain.base, plain.slope) == pytest.approx((other.base, other.slope))


def test_threshold_stays_in_bounds_whatever_the_rows_say() -> None:
    sure = [Sample(0.999999, False, 100, 1400)] * 200
    never = [Sample(0.0, True, 100, 1400)] * 200
    dear_light = [Sample(each.confidence, each.needs_full, 2000, 1400) for each in traffic(300)]
    for rows in (sure, never, [*sure, *never], dear_light):
        for price in (0.01, 1, 1000):
            assert 0.01 <= best_threshold(rows, price) <= 0.99
    assert best_threshold(dear_light, 1) == 0.99


@pytest.mark.parametrize("seed", range(3))
def test_confidence_that_says_the_opposite_proposes_nothing(seed: int) -> None:
    chance = random.Random(seed)
    confidences = [chance.random() for _ in range(300)]
    rows = [Sample(each, chance.random() < each, 100, 1400) for each in confidences]
    with pytest.raises(TooFew, match="doesn't tell"):
        proposals(rows)


def test_preferences_are_in_order_and_their_errors_too() -> None:
    found = proposals(traffic())
    assert [each.preference for each in found] == ["economy", "balanced", "quality"]
    thresholds = [each.threshold for each in found]
    assert thresholds == sorted(thresholds)
    errors = [each.expected.poor.value or 0 for each in found]
    assert errors == sorted(errors, reverse=True)


def test_true_error_is_in_the_interval_about_19_times_of_20() -> None:
    later = traffic(30_000, seed=999)
    hits = 0
    for seed in range(60):
        rows = traffic(MIN_COMPARED, seed=seed)
        threshold = best_threshold(rows, 3)
        true = expected_at(threshold, later).poor.value
        low, high = expected_at(threshold, rows).poor.interval
        hits += low <= (true or 0) <= high
    assert hits >= 54


def test_comparisons_stand_for_the_questions_of_their_path_and_thumbs_for_themselves() -> None:
    rows = [
        *[compared("light", 0.9, "better")] * 100,
        *[compared("light", 0.9, "worse")] * 10,
        *[compared("full", 0.2, "better")] * 100,
    ]
    thumbs = [Thumb(0.9, -1, 120), Thumb(0.9, 1, 80)]
    samples = samples_of(rows, thumbs, {"light": 1100, "full": 50})
    assert {each.weight for each in samples} == {10, 1}
    assert sum(each.weight for each in samples) == 1100 + 100 + 2
    assert [(each.needs_full, each.full_tokens) for each in samples[-2:]] == [
        (True, 1400),
        (False, 1400),
    ]


@pytest.mark.parametrize(
    ("rows", "missing"),
    [
        ([], "0 comparisons, and 200"),
        ([compared("light", 0.9, "better")] * 300, "0 comparisons of full answers"),
        ([compared("full", 0.1, "better")] * 300, "0 comparisons of light answers"),
        (
            [compared("light", 0.9, "tie")] * 200 + [compared("full", 0.1, "tie")] * 200,
            "0 questions that need the full path",
        ),
        (
            [compared("light", 0.9, "worse")] * 200 + [compared("full", 0.1, "better")] * 200,
            "0 questions for which the light path does",
        ),
    ],
)
def test_too_few_rows_propose_nothing(rows: list[Compared], missing: str) -> None:
    with pytest.raises(TooFew, match=missing):
        samples_of(rows, [], {})


# --- The command


def decision(**fields: Any) -> RoutingDecision:
    return RoutingDecision.objects.create(
        **{
            "workflow_id": uuid.uuid4(),
            "path": "light",
            "confidence": 0.9,
            "mode": "auto",
            "outcome": "completed",
            "tokens": 100,
            **fields,
        }
    )


def store(count: int, *, weights: str | None = None, seed: int = 3) -> None:
    """Store so many comparisons of decisions that a threshold of .62 has made."""
    chance = random.Random(seed)
    for _ in range(count):
        confidence = chance.random()
        is_light = confidence >= 0.62
        needs_full = chance.random() > confidence
        made = decision(
            path="light" if is_light else "full",
            confidence=confidence,
            tokens=100 if is_light else 1400,
        )
        verdict = "worse" if is_light and needs_full else "better" if needs_full else "tie"
        assert Comparison.objects.record(
            made.pk,
            verdict,  # type: ignore[arg-type]
            tokens=1400 if is_light else 100,
            judging=50,
            weights=weights or weights_digest(),
        )


def tuned(*arguments: str) -> str:
    out = StringIO()
    call_command("tune_routing", *arguments, stdout=out)
    return out.getvalue()


@pytest.mark.django_db
class TestCommand:
    @pytest.fixture(autouse=True)
    def _own_threshold(self, settings: Settings) -> None:
        settings.FLEET_LIGHT_THRESHOLD = None

    def test_proposes_a_threshold_for_each_preference_and_changes_nothing(
        self, settings: Settings
    ) -> None:
        store(300)
        decision(rating=-1)
        rows = list(RoutingDecision.objects.order_by("pk").values())
        found = json.loads(tuned("--json"))
        assert (found["compared"], found["thumbs"]) == (300, 1)
        assert found["now"]["threshold"] == classifier().threshold
        assert list(found["proposals"]) == ["economy", "balanced", "quality"]
        for each in found["proposals"].values():
            assert 0 <= each["poor"]["low"] <= each["poor"]["share"] <= each["poor"]["high"] <= 1
        printed = tuned()
        balanced = found["proposals"]["balanced"]["threshold"]
        assert f"FLEET_LIGHT_THRESHOLD, such as {balanced:.2f}" in printed
        assert "Nothing was changed." in printed
        assert settings.FLEET_LIGHT_THRESHOLD is None
        assert list(RoutingDecision.objects.order_by("pk").values()) == rows
        assert Comparison.objects.count() == 300

    def test_compares_with_the_threshold_that_is_set(self, settings: Settings) -> None:
        settings.FLEET_LIGHT_THRESHOLD = 0.8
        store(300)
        assert json.loads(tuned("--json"))["now"]["threshold"] == 0.8

    def test_refuses_with_too_few_rows(self) -> None:
        store(MIN_COMPARED - 1)
        with pytest.raises(CommandError, match="199 comparisons, and 200 are needed"):
            tuned()

    def test_comparisons_of_other_weights_or_times_do_not_count(self) -> None:
        store(250, weights="of before")
        with pytest.raises(CommandError, match="0 comparisons"):
            tuned()
        Comparison.objects.update(weights=weights_digest())
        assert tuned()
        Comparison.objects.update(created_at=timezone.now() - timedelta(days=40))
        RoutingDecision.objects.update(created_at=timezone.now() - timedelta(days=40))
        assert tuned()
        with pytest.raises(CommandError, match="0 comparisons"):
            tuned("--days", "30")

    def test_thumbs_count_on_light_answers_that_the_threshold_has_chosen(self) -> None:
        store(300)
        for fields in (
            {"path": "full"},
            {"mode": "light"},
            {"escalated": True},
            {"outcome": "cancelled"},
            {"reasons": ONE_CALL},
            {"reasons": NO_TEAM},
        ):
            decision(rating=-1, **fields)
        old = decision(rating=-1)  # by other weights, perhaps
        RoutingDecision.objects.filter(pk=old.pk).update(
            created_at=timezone.now() - timedelta(days=1)
        )
        assert json.loads(tuned("--json"))["thumbs"] == 0
        decision(rating=-1)
        assert json.loads(tuned("--json"))["thumbs"] == 1

    def test_answers_while_light_mode_was_off_say_nothing_of_the_threshold(self) -> None:
        store(300)
        before = tuned("--json")
        for _ in range(100):
            decision(path="full", confidence=0.99, tokens=1400, reasons=LIGHT_IS_OFF)
        assert tuned("--json") == before

    def test_days_must_be_positive(self) -> None:
        with pytest.raises(CommandError, match="at least 1"):
            tuned("--days", "0")
