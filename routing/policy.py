"""Choose the route of a question: its path, its tools and its caps. Start at `choose`."""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Literal

from django.conf import settings

from .caps import Caps
from .classifier import Classifier
from .features import LastAnswer
from .preferences import Preference
from .reasons import (
    CHOSE_FULL,
    CHOSE_LIGHT,
    CHOSE_PLAIN,
    LIGHT_IS_OFF,
    NO_TEAM,
    ONE_CALL,
    PREFERS_ECONOMY,
    PREFERS_QUALITY,
    THRESHOLD_SAYS,
)

Path = Literal["light", "full"]
Mode = Literal["auto", "light", "full", "plain"]
# From the first confidence and below the second, the router's model is asked if there is one. It
# costs up to 1.5 s, so it is asked only near the classifier's threshold (0.62).
GREY_ZONE = (0.45, 0.75)
# Up to the first confidence, and from the second on, the classifier is sure.
SURE = (0.15, 0.85)


@dataclass(frozen=True, slots=True)
class Route:
    """How a question is answered, and why.

    `confidence` is the classifier's probability that the light path answers well, also if the full
    path was chosen; 1 in the mode plain, in which it isn't asked.
    """

    path: Path
    confidence: float
    reasons: tuple[str, ...]
    caps: Caps
    tools: tuple[str, ...] = ()
    features: Mapping[str, float] = field(default_factory=dict)
    is_grey: bool = False  # the classifier is not sure, so a second opinion helps
    asked: bool = False  # for that opinion

    @property
    def is_follow_up(self) -> bool:
        """True if the wording shows that the question continues the one before it."""
        return bool(self.features.get("follows"))

    @property
    def is_sure(self) -> bool:
        """True if another look at the question would hardly choose the other path."""
        low, high = SURE
        return self.reasons == (ONE_CALL,) or not low < self.confidence < high

    def with_opinion(self, path: Path, reason: str) -> "Route":
        """Return the route after a second opinion on a grey one."""
        return replace(
            self,
            path=path,
            caps=caps_of(path),
            reasons=(reason, *self.reasons[:2]),
            is_grey=False,
            asked=True,
        )

    def escalated(self, reason: str) -> "Route":
        """Return the full path, because the light answer was not good enough."""
        return replace(self, path="full", caps=caps_of("full"), reasons=(reason,), is_grey=False)


def choose(
    text: str,
    *,
    context: Sequence[str] = (),
    answered: LastAnswer | None = None,
    mode: Mode = "auto",
    preference: Preference = "balanced",
    phrases: Mapping[str, re.Pattern[str]] | None = None,
    exact: tuple[str, ...] = (),
    sufficient: Collection[str] = (),
    has_team: bool = True,
) -> Route:
    """Return the route of a question.

    `context` holds the same person's earlier questions, oldest first, and `answered` is the last
    answer. `phrases` are, by the name of each tool, the
    wordings that obviously ask for it; `exact` are the tools that answer this question exactly; for
    those in `sufficient`, a question with their phrases takes the light path, whatever the
    classifier says. `has_team` is False if the model is too weak for a team.
    """
    if mode == "plain":
        return Route("light", confidence=1, reasons=(CHOSE_PLAIN,), caps=caps_of("light"))
    # Also for a path that the reader chose: the decision is stored with the confidence.
    judgement = classifier().judge(text, context, answered)
    phrases = phrases or {}
    # The core of "Summarise this: …" and of "Summarise this. Then compare it with …" lacks what
    # follows. Their phrases are for whole questions.
    whole = {name: phrase for name, phrase in phrases.items() if name in sufficient}
    other = {name: phrase for name, phrase in phrases.items() if name not in sufficient}
    tools = exact[:1] or obvious_tools(text, whole) or obvious_tools(judgement.core, other)
    path: Path
    reasons: tuple[str, ...]
    match mode:
        case "auto" | "full" if not has_team:
            path, reasons = "light", (NO_TEAM,)
        case "light":
            path, reasons = "light", (CHOSE_LIGHT,)
        case "full":
            path, reasons = "full", (CHOSE_FULL,)
        case "auto" if not settings.FLEET_LIGHT_MODE:
            path, reasons = "full", (LIGHT_IS_OFF,)
        case "auto" if any(tool in sufficient for tool in tools):
            path, reasons = "light", (ONE_CALL,)
        case "auto":
            path = "light" if judgement.light >= threshold_of(preference) else "full"
            reasons = judgement.reasons
            if (path == "light") != (judgement.light >= classifier().threshold):
                # The classifier's reasons are for the other path.
                reasons = (reason_of(preference),)
    return Route(
        path,
        confidence=judgement.light,
        reasons=reasons,
        caps=caps_of(path),
        tools=tools,
        features=judgement.features,
        is_grey=mode == "auto"
        and reasons != (ONE_CALL,)
        and has_team
        and settings.FLEET_LIGHT_MODE
        and is_grey(judgement.light, preference),
    )


def may_prefer() -> bool:
    """Return True if a preference counts: the operator has not decided for everybody."""
    return settings.FLEET_LIGHT_MODE and settings.FLEET_LIGHT_THRESHOLD is None


def threshold_of(preference: Preference) -> float:
    """Return the confidence from which a question takes the light path."""
    if settings.FLEET_LIGHT_THRESHOLD is not None:
        threshold: float = settings.FLEET_LIGHT_THRESHOLD
        return threshold
    return classifier().thresholds[preference]


def reason_of(preference: Preference) -> str:
    """Return why a question takes another path than the classifier's own threshold would choose."""
    if settings.FLEET_LIGHT_THRESHOLD is not None:
        return THRESHOLD_SAYS
    return PREFERS_ECONOMY if preference == "economy" else PREFERS_QUALITY


def is_grey(light: float, preference: Preference) -> bool:
    """Return True if a confidence is so near the threshold that a second opinion helps."""
    shift = threshold_of(preference) - classifier().threshold if may_prefer() else 0.0
    return GREY_ZONE[0] + shift <= light < GREY_ZONE[1] + shift


def obvious_tools(asked: str, phrases: Mapping[str, re.Pattern[str]]) -> tuple[str, ...]:
    """Return the first tool whose phrases occur in what is asked, if there is one."""
    for name, phrase in phrases.items():
        if phrase.search(asked):
            # Stop here: the light path makes one call, and the first tool is the preferred one.
            return (name,)
    return ()


@cache
def classifier() -> Classifier:
    """Return the trained classifier, read once per process, or raise BrokenWeights."""
    return Classifier.load()


def caps_of(path: Path) -> Caps:
    return settings.FLEET_LIGHT_CAPS if path == "light" else settings.FLEET_FULL_CAPS
