"""What a conversation's page shows: its questions with their answers, and its figures.

This reads the database, a page in a fixed number of queries; chat/rendering gets values only.
"""

import json
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from uuid import UUID

from django.conf import settings
from django.db.models import Count, IntegerField, Max, Q, Sum
from django.db.models.fields.json import KT
from django.db.models.functions import Cast
from django.utils.translation import gettext

from routing.models import RoutingDecision

from .branches import Tree
from .chains import asks_of, chains_of, earlier_of
from .conversations import Conversation, Message
from .models import Run
from .protocol.terms import Usage
from .rendering.answer import AnswerView
from .rendering.asks import AskView
from .rendering.earlier import Earlier
from .rendering.turns import turn
from .rendering.wording import about, cached_share, duration, money, number

MAX_QUESTIONS = 30  # of a conversation on a page; buttons load earlier and later ones
BEFORE_PLACE = 3  # questions that are shown before the one that a search has found


@dataclass(frozen=True, slots=True)
class Versions:
    """The versions of a question as a page steps through them: by a run of each."""

    runs: Sequence[str] = ()
    place: int = 0  # of the one that is shown, from 0

    @property
    def runs_json(self) -> str:
        return json.dumps(self.runs)

    @property
    def number(self) -> int:
        return self.place + 1


@dataclass(frozen=True, slots=True)
class QuestionWithAnswers:
    """A question with its answers; the newest answer is open, earlier ones are folded."""

    number: int | None = None
    text: str = ""
    answers: Sequence[AnswerView] = ()
    pk: int | None = None  # None until the server has stored it
    versions: Versions = Versions()  # none if this is the only one

    @property
    def text_json(self) -> str:
        """The exact text for the page's script: HTML parsers change the line ends of attributes."""
        return json.dumps(self.text)

    @property
    def newest(self) -> AnswerView | None:
        return self.answers[-1] if self.answers else None

    @property
    def earlier(self) -> Sequence[AnswerView]:
        return self.answers[:-1]

    @property
    def is_earlier_live(self) -> bool:
        """Return True if an earlier answer goes on, because somebody replied to what it asked."""
        return any(answer.end is None for answer in self.earlier)


@dataclass(frozen=True, slots=True)
class Thread:
    questions: Sequence[QuestionWithAnswers] = ()
    before: int | None = None  # cursor for earlier questions, if there are any
    after: int | None = None  # cursor for later ones, if they aren't shown
    count: int = 0  # of the questions up to the end of the path
    newest: int = 0  # cursor for what comes later: the message of the newest answer
    has_more: bool = False  # there is more behind `newest`
    fork: int = 0  # the number from which on these replace what a page shows, if they do


def thread_of(chat: Conversation, *, before: int | None = None) -> Thread:
    """Return the newest questions that are shown, or those before one, with all their answers."""
    # First, so that an answer that begins meanwhile counts as not shown.
    newest = newest_answer_of(chat)
    tree = chat.tree()
    path = tree.path(chat.head)
    if before is not None:
        path = path[: bisect_left(path, before)]
    return end_of(path, tree, newest=newest)


def thread_around(chat: Conversation, question: int) -> Thread:
    """Return the questions around one, and show its version. Raise KeyError if there is none."""
    newest = newest_answer_of(chat)
    tree = chat.show(question)
    path = tree.path(chat.head)
    first = min(path.index(question) - BEFORE_PLACE, len(path) - MAX_QUESTIONS)
    return window(path, tree, max(0, first), newest=newest)


def thread_behind(chat: Conversation, question: int) -> Thread:
    """Return the questions behind one that is shown; none if it isn't."""
    tree = chat.tree()
    path = tree.path(chat.head)
    return window(path, tree, path.index(question) + 1 if question in path else len(path))


def thread_from(chat: Conversation, run: Run) -> Thread:
    """Show the version of a question that this run answered. Return the questions from it on."""
    newest = newest_answer_of(chat)
    tree = chat.show(run.question_id)
    fork = tree.number(run.question_id)
    return window(tree.path(chat.head), tree, fork - 1, newest=newest, fork=fork)


def turns_since(chat: Conversation, newest: int, *, shown: UUID | None = None) -> Thread:
    """Return the questions with answers that a page doesn't have.

    It knows the answers up to the message `newest`, and its last question is the one that the run
    `shown` answered. If other versions are shown now, return all questions from the fork on.
    """
    tree = chat.tree()
    path = tree.path(chat.head)
    last = chat.runs.filter(pk=shown).first() if shown else None
    if last:
        page = tree.path(last.question_id)
        kept = shared(page, path)
        if kept < len(page):
            return end_of(path, tree, newest=newest_answer_of(chat), fork=kept + 1)
    runs = chat.runs.filter(answer__gt=newest).order_by("answer_id")
    found = list(runs.values_list("answer_id", "question_id")[: MAX_QUESTIONS + 1])
    changed = found[:MAX_QUESTIONS]
    if not changed:
        return Thread(newest=newest)
    asked = set()
    for _, question in changed:
        # Of a hidden question, the page shows that there is one more version.
        at = shared(tree.path(question), path) - (question in path)
        asked.update(path[at : at + 1])
    return Thread(
        with_answers(sorted(asked), tree),
        newest=changed[-1][0],
        has_more=len(found) > len(changed),
    )


def shared(path: Sequence[int], other: Sequence[int]) -> int:
    """Return how many questions two paths of a tree have in common: those before they part."""
    return len(set(path).intersection(other))


def newest_answer_of(chat: Conversation) -> int:
    return chat.runs.aggregate(newest=Max("answer"))["newest"] or 0


def end_of(path: Sequence[int], tree: Tree, *, newest: int, fork: int = 0) -> Thread:
    """Return the last questions of a path, from a fork on if there is one."""
    first = max(len(path) - MAX_QUESTIONS, fork - 1, 0)
    return window(path, tree, first, newest=newest, fork=fork)


def window(
    path: Sequence[int], tree: Tree, first: int, *, newest: int = 0, fork: int = 0
) -> Thread:
    """Return the questions of a path from `first` on, counted from 0."""
    shown = path[first : first + MAX_QUESTIONS]
    is_end = first + MAX_QUESTIONS >= len(path)
    return Thread(
        with_answers(shown, tree),
        before=shown[0] if first and shown else None,
        after=None if is_end else shown[-1],
        count=len(path),
        newest=newest,
        fork=fork,
    )


def with_answers(pks: Sequence[int], tree: Tree) -> list[QuestionWithAnswers]:
    """Return these questions, which are on one path, with all their answers."""
    numbers = {pk: tree.number(pk) for pk in pks}
    answers = answers_of(numbers)
    versions = versions_of(pks, tree)
    texts = Message.objects.filter(pk__in=pks).order_by("pk").values_list("pk", "text")
    return [
        QuestionWithAnswers(
            numbers[pk],
            text,
            answers.get(pk, []),
            pk,
            versions.get(pk, Versions()),
        )
        for pk, text in texts
    ]


def versions_of(pks: Sequence[int], tree: Tree) -> dict[int, Versions]:
    """Return the versions of those questions that have several. No query if none has."""
    siblings = {pk: found for pk in pks if len(found := tree.versions(pk)) > 1}
    if not siblings:
        return {}
    asked = {version for found in siblings.values() for version in found}
    runs = Run.objects.filter(question__in=asked).order_by("answer")
    # Any run of a question will do. Staff may have deleted all of them.
    known = {question: str(run) for question, run in runs.values_list("question_id", "pk")}
    versions = {}
    for pk, found in siblings.items():
        shown = [version for version in found if version in known or version == pk]
        versions[pk] = Versions([known.get(version, "") for version in shown], shown.index(pk))
    return versions


def answers_of(numbers: Mapping[int, int]) -> dict[int, list[AnswerView]]:
    """Return the answers to questions by their id, oldest first. `numbers` has the questions."""
    found = Run.objects.filter(question__in=numbers).select_related("answer")
    runs = list(found.order_by("question_id", "answer_id"))
    ratings, asks = ratings_of(runs), asks_of(runs)
    return {
        question_id: [
            view_of(
                run,
                numbers[question_id],
                ratings.get(run.pk),
                earlier=earlier_of(paused, asks),
                asks=asks.get(run.pk, []),
            )
            for *paused, run in chains_of(group)
        ]
        for question_id, group in groupby(runs, key=lambda run: run.question_id)
    }


def answer_of(run: Run) -> AnswerView:
    """Return the answer that this run is a part of."""
    number = run.conversation.tree().number(run.question_id)
    views = answers_of({run.question_id: number})[run.question_id]
    first = [*run.paused_before, run][0]
    return next(view for view in views if view.run == f"run-{first.pk}")


def ratings_of(runs: Iterable[Run]) -> dict[UUID, int]:
    # A query of its own: routing doesn't know chat, so its rows have no relation to runs.
    rated = RoutingDecision.objects.filter(
        workflow_id__in=[run.pk for run in runs], rating__isnull=False
    )
    return {
        pk: rating
        for pk, rating in rated.values_list("workflow_id", "rating")
        if rating is not None
    }


def view_of(
    run: Run,
    number: int,
    rating: int | None,
    *,
    earlier: Earlier | None = None,
    asks: Sequence[AskView] = (),
) -> AnswerView:
    ending = run.recorded_ending
    # The answer gets its text with the ending. Until then the run has a copy that may be behind;
    # the page's script joins the run and gets the rest.
    text = run.answer.text if ending else run.text_so_far
    with turn:
        view = AnswerView.of_record(
            str(run.pk),
            run.recorded_steps,
            text,
            ending,
            earlier=earlier,
            asks=asks,
            started_at=run.created_at,
            ended_at=run.ended_at,
            model_asked=run.model_asked,
        )
    view.message_id = str(run.message_id)
    view.conversation_id = str(run.conversation_id)
    view.number, view.rating = number, rating
    return view


def totals_of(chat: Conversation) -> list[tuple[str, str]]:
    """Return the name and the text of each figure of all answers together, in one query."""
    runs = Run.objects.filter(conversation=chat)
    found = runs.aggregate(
        # A run that goes on with a paused one is the same answer.
        answers=Count("pk", filter=Q(continues=None)),
        runs=Count("pk"),
        ms=Sum("total_ms", default=0),
        read=Sum("input_tokens", default=0),
        cached=Sum(Cast(KT("ending__usage__cached_tokens"), IntegerField()), default=0),
        written=Sum("output_tokens", default=0),
        calls=Sum("model_calls", default=0),
        tools=Sum("tool_calls", default=0),
        estimated=Count("pk", filter=Q(is_estimated=True)),
        price=Sum("cost"),
        priced=Count("cost"),
    )
    read, written = number(found["read"]), number(found["written"])
    if found["estimated"]:
        read, written = about(read), about(written)
    totals = [
        (gettext("Answers"), number(found["answers"])),
        (gettext("Time"), duration(found["ms"])),
        (gettext("Model calls"), number(found["calls"])),
        (gettext("Tool calls"), number(found["tools"])),
        (gettext("Tokens read"), read),
        (gettext("Tokens written"), written),
    ]
    if found["cached"]:
        usage = Usage(input_tokens=found["read"], cached_tokens=found["cached"])
        totals.insert(-1, (gettext("Input cached"), cached_share(usage)))
    if settings.FLEET_PRICES and found["priced"]:
        cost = money(found["price"], settings.FLEET_PRICES.currency)
        # An answer by a model without a price may have cost something too.
        is_whole = found["priced"] == found["runs"]
        least = cost if is_whole else gettext("%(cost)s or more") % {"cost": cost}
        totals.append((gettext("Cost"), least))
    return totals
