"""The admin's page of comparisons: regret and savings with their intervals, by confidence."""

import uuid
from datetime import timedelta

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.utils import timezone
from pytest_django import Settings

from routing.caps import Sampling
from routing.models import Comparison, RoutingDecision
from routing.regret import Verdict, weights_digest

pytestmark = pytest.mark.django_db

PAGE = "/admin/routing/comparison/"


def compare(
    path: str, confidence: float, verdict: Verdict, count: int = 1, *, weights: str = ""
) -> None:
    for number in range(count):
        decision = RoutingDecision.objects.create(
            workflow_id=uuid.uuid4(),
            path=path,
            confidence=confidence,
            mode="auto",
            outcome="completed",
            tokens=(100 if path == "light" else 1500) + 2 * number,
        )
        assert Comparison.objects.record(
            decision.pk,
            verdict,
            tokens=1500 if path == "light" else 100,
            judging=50,
            weights=weights or weights_digest(),
        )


def test_page_shows_regret_and_savings_with_intervals(admin_client: Client) -> None:
    compare("light", 0.9, "better", 80)
    compare("light", 0.7, "worse", 20)
    compare("full", 0.2, "better", 6)
    compare("full", 0.2, "tie", 3)
    compare("full", 0.2, "worse", 1)
    shown = admin_client.get(PAGE).context["shown"]
    total = shown.total
    assert (total.light, total.full) == ("100", "10")
    assert total.light_regret == "20 % (13–29)"
    assert total.full_regret == "10 % (2–40)"
    assert total.needless == "40 % (17–69)"
    assert [row.name for row in shown.bands] == ["0.15 to 0.30", "0.60 to 0.75", "0.85 to 1.00"]
    low, middle, high = shown.bands
    assert (low.light, low.light_regret, low.needless) == ("0", "–", "40 % (17–69)")
    assert (middle.light_regret, high.light_regret) == ("100 % (84–100)", "0 % (0–5)")
    # 80 answers of 100 to 258 tokens, against 1,500
    assert high.saved == "1,321 ± 10"
    assert shown.tokens == 100 * 1500 + 10 * 100 + 110 * 50


def test_comparisons_by_other_weights_are_counted_apart_and_old_ones_not_at_all(
    admin_client: Client,
) -> None:
    compare("light", 0.9, "better", 2)
    compare("light", 0.9, "worse", 3, weights="of before")
    Comparison.objects.filter(verdict="better").update(
        created_at=timezone.now() - timedelta(days=91)
    )
    page = admin_client.get(PAGE)
    assert (page.context["shown"].count, page.context["shown"].others) == (0, 3)
    assert "Nothing was compared" in page.text
    assert "3 more were of decisions with other weights" in page.text


def test_page_says_what_is_compared(admin_client: Client, settings: Settings) -> None:
    settings.FLEET_COMPARE = Sampling(0, 500_000)
    assert "No answers are compared." in admin_client.get(PAGE).text
    settings.FLEET_COMPARE = Sampling(0.025, 300_000)
    page = admin_client.get(PAGE).text
    assert "2.5 % of the answers in mode auto" in page
    assert "300,000 tokens a day" in page


def test_decision_shows_its_verdict(admin_client: Client) -> None:
    compare("light", 0.9, "worse")
    decision = RoutingDecision.objects.get()
    page = f"/admin/routing/routingdecision/{decision.pk}/change/"
    assert "the other path&#x27;s answer was better" in admin_client.get(page).text
    admin_client.post(page.replace("change", "delete"), {"post": "yes"})
    assert not RoutingDecision.objects.exists()
    assert not Comparison.objects.exists()


def test_only_staff_with_the_permission_sees_the_page(client: Client) -> None:
    staff = User.objects.create_user("staff", is_staff=True)
    client.force_login(staff)
    assert client.get(PAGE).status_code == 403
    staff.user_permissions.add(Permission.objects.get(codename="view_comparison"))
    assert client.get(PAGE).status_code == 200
    assert client.post(PAGE).status_code == 405
