"""The routing decision of each question, and its outcome."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal
from uuid import UUID

from django.db import models, transaction
from django.utils.crypto import salted_hmac

from .policy import Mode, Route
from .regret import Compared, Verdict

Outcome = Literal["completed", "cancelled", "failed", "paused"]


@dataclass(frozen=True, slots=True)
class Routed:
    """A question with the route that was chosen first; `escalated` if the full path took over."""

    text: str
    mode: Mode
    route: Route
    escalated: bool


class RoutingDecisionQuerySet(models.QuerySet["RoutingDecision"]):
    def record(
        self, workflow_id: UUID, routed: Routed, *, outcome: Outcome, tokens: int
    ) -> "RoutingDecision":
        route = routed.route
        return self.create(
            workflow_id=workflow_id,
            text_hash=text_hash(routed.text),
            features=dict(route.features),
            path=route.path,
            confidence=route.confidence,
            mode=routed.mode,
            reasons="; ".join(route.reasons),
            asked=route.asked,
            escalated=routed.escalated,
            outcome=outcome,
            tokens=tokens,
        )

    def rate(self, workflow_id: UUID, rating: int | None) -> bool:
        """Store the rating of an answer. Return False if there is no decision for it."""
        return bool(self.filter(pk=workflow_id).update(rating=rating))


class RoutingDecision(models.Model):
    """How one question was routed, and the outcome. Stores no words of it but those in a reason."""

    class Path(models.TextChoices):
        LIGHT = "light"
        FULL = "full"

    class Mode(models.TextChoices):
        AUTO = "auto"
        LIGHT = "light"
        FULL = "full"

    class Rating(models.IntegerChoices):
        UP = 1
        DOWN = -1

    workflow_id = models.UUIDField(primary_key=True, help_text="of the run")
    text_hash = models.CharField(
        max_length=16,
        db_index=True,
        help_text="equal for equal texts; the text cannot be read from it",
    )
    features = models.JSONField(default=dict)
    path = models.CharField(max_length=5, choices=Path, help_text="chosen first")
    confidence = models.FloatField(help_text="probability that the light path answers well")
    mode = models.CharField(max_length=5, choices=Mode)
    reasons = models.TextField(blank=True)
    asked = models.BooleanField(
        default=False, help_text="the classifier was not sure, so the router's model was asked"
    )
    escalated = models.BooleanField(
        default=False, help_text="the light answer would not do, so the full team took over"
    )
    outcome = models.CharField(max_length=9)
    tokens = models.PositiveIntegerField(default=0, help_text="read and written by models")
    rating = models.SmallIntegerField(
        choices=Rating, null=True, blank=True, help_text="a person's thumb on the answer"
    )
    created_at = models.DateTimeField(auto_now_add=True)

    objects = RoutingDecisionQuerySet.as_manager()

    class Meta:
        ordering = ("-created_at",)
        indexes = (
            # Few answers are rated, and pages count them over long times.
            models.Index(
                fields=("created_at", "rating"),
                condition=models.Q(rating__isnull=False),
                name="rated_decisions",
            ),
            # The admin's list and its figures by day are read from this index alone.
            models.Index(
                fields=(
                    "-created_at",
                    "-workflow_id",
                    "path",
                    "escalated",
                    "outcome",
                    "mode",
                    "asked",
                    "rating",
                    "tokens",
                    "confidence",
                ),
                name="decisions_listed",
            ),
        )

    def __str__(self) -> str:
        return f"{self.path} {self.confidence:.2f}"


class ComparisonQuerySet(models.QuerySet["Comparison"]):
    def record(
        self, workflow_id: UUID, verdict: Verdict, *, tokens: int, judging: int, weights: str
    ) -> bool:
        """Store which answer was better. Return False if the question was deleted meanwhile."""
        with transaction.atomic():
            decisions = RoutingDecision.objects.filter(pk=workflow_id).order_by()
            # Locked, so that it isn't deleted before this is stored.
            if decisions.select_for_update(no_key=True).values_list("pk").first() is None:
                return False
            self.create(
                decision_id=workflow_id,
                verdict=verdict,
                tokens=tokens,
                judging=judging,
                weights=weights,
            )
            return True

    def since(self, moment: datetime, *, weights: str) -> list[Compared]:
        """Return the comparisons since then, of decisions by the classifier with these weights."""
        rows = self.filter(created_at__gte=moment, weights=weights).order_by("created_at", "pk")
        return [
            Compared(*row)
            for row in rows.values_list(
                "decision__path",
                "decision__confidence",
                "verdict",
                "decision__tokens",
                "tokens",
                "decision__rating",
            )
        ]


class Comparison(models.Model):
    """Which answer to a question was better: the one that a person got, or the other path's.

    The decision has the path, the confidence, the features and the tokens of the first.
    """

    class Verdict(models.TextChoices):
        BETTER = "better"
        WORSE = "worse"
        TIE = "tie"

    # By the database, so that workers of the version before may delete decisions, too.
    decision = models.OneToOneField(
        RoutingDecision, on_delete=models.DB_CASCADE, primary_key=True, related_name="comparison"
    )
    verdict = models.CharField(
        max_length=6, choices=Verdict, help_text="on the answer that the person got"
    )
    tokens = models.PositiveIntegerField(help_text="of the other answer")
    judging = models.PositiveIntegerField(help_text="tokens of the calls that judged both")
    weights = models.CharField(
        max_length=12, help_text="digest of the weights with which the router decided"
    )
    created_at = models.DateTimeField(auto_now_add=True)

    objects = ComparisonQuerySet.as_manager()

    class Meta:
        default_permissions = ("view",)
        indexes = (models.Index(fields=("weights", "created_at"), name="comparisons_by_weights"),)

    def __str__(self) -> str:
        return f"{self.decision_id}: {self.verdict}"


def text_hash(text: str) -> str:
    """Return a digest of a text, regardless of white space and case.

    The digest has a key, because short texts could be guessed from a plain one.
    """
    return salted_hmac(
        "routing.text", " ".join(text.casefold().split()), algorithm="sha256"
    ).hexdigest()[:16]
