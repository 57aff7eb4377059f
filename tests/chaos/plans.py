"""The plan of each run of a storm, drawn from the seed: the model's script and the readers."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any, Literal
from uuid import UUID

WORDS = (
    "alpha",
    "beta",
    "**bold**",
    "`code`",
    "gamma\n\n",
    "- item\n",
    "δέλτα",
    "🦊",
    "| a | b |\n",
    "# head\n",
    "<i>x</i>",
    "42",
    "\n```\n",
)
GIANT = 2**20  # characters of one chunk
BURST = 1000  # chunks in one write
MAX_REJOINS = 50
RETRIES = 2
TEAM_CALLS = 6  # a plan, two notes, a draft, a review, the answer
TEAM_AT_ONCE = 2  # specialists side by side

ProbeKind = Literal["beyond the end", "negative cursor", "another text"]
type ToolName = Literal["book", "pay", "poison"]
EVENTS = "fleet.events.v1"  # in place of a subprotocol: Server-Sent Events over HTTP
CLOCKS = frozenset({"first_chunk_timeout", "idle_timeout", "max_runtime"})


@dataclass(frozen=True, slots=True)
class Play:
    """The model's script for a question, and the endings of an undisturbed run.

    `script` is for the final answer. A `doubtful` light answer comes before it and escalates to the
    team. `acts` are the tools that the specialists call, by their ids.
    """

    name: str
    script: dict[str, Any]
    ends: frozenset[str]
    by_team: bool = False
    doubtful: dict[str, Any] | None = None
    acts: Mapping[str, ToolName] = field(default_factory=dict)

    @property
    def mode(self) -> Literal["light", "full", "auto"]:
        if self.doubtful:
            return "auto"
        return "full" if self.by_team else "light"

    @property
    def text(self) -> str:
        return "".join(self.script["tokens"])

    @property
    def beginnings(self) -> list[str]:
        """Return the texts with one of which the text of an incomplete run must begin."""
        return [self.text, *(["".join(self.doubtful["tokens"])] if self.doubtful else [])]

    @property
    def is_heavy(self) -> bool:
        """Return True if it keeps a worker so busy that times of other runs mean little."""
        return self.name in ("giant", "burst")

    @property
    def max_calls(self) -> int:
        """Return how often the model may be called by a run that no worker takes over.

        Only failures before a chunk are retried.
        """
        if self.by_team:
            return TEAM_CALLS + len(self.acts) + (1 if self.doubtful else 0)
        fails = self.script.get("status", 200) != 200
        return int(self.script.get("fail_times", RETRIES)) + 1 if fails else 1

    @property
    def calls_at_once(self) -> int:
        """Return how many model calls may be in flight when a worker dies, with their retries."""
        return TEAM_AT_ONCE if self.by_team else self.max_calls


@dataclass(frozen=True, slots=True)
class Cancelling:
    """A cancel of a run."""

    after: float  # seconds since the run was asked for
    reader: int | None  # its number, or None for a socket of its own
    times: int


@dataclass(frozen=True, slots=True)
class Probe:
    """A socket that sends an odd request while the run is live."""

    kind: ProbeKind
    after: float


@dataclass(frozen=True, slots=True)
class ReaderPlan:
    """When a follower joins, and after how many frames of each socket it vanishes."""

    subprotocol: str
    joins_after: float
    vanishes: Sequence[int]
    stays: float  # seconds that it listens after the terminal


@dataclass(frozen=True, slots=True)
class ReplyPlan:
    """What is replied to a paused run, as its frame has it, and after how many seconds.

    `conversation` is the paused run's, if its readers know it.
    """

    continues: UUID
    replies: Sequence[dict[str, Any]]
    after: float
    conversation: str = ""

    @property
    def withdraws(self) -> bool:
        return any(reply["decision"] == "withdraw" for reply in self.replies)


@dataclass(frozen=True, slots=True)
class RunPlan:
    """One run of the storm. With a `reply`, it goes on where a paused run stopped."""

    number: int
    message_id: UUID
    play: Play
    readers: Sequence[ReaderPlan]
    cancellings: Sequence[Cancelling] = ()
    probes: Sequence[Probe] = field(default_factory=list)
    reply: ReplyPlan | None = None

    @property
    def question(self) -> str:
        # Five digits, because four may be a year, for which the web would be searched.
        return f"question {self.number:05d} ({self.play.name})"

    @property
    def endings(self) -> frozenset[str]:
        """Return the endings that the run may have if no worker fails."""
        if self.reply and self.reply.withdraws:
            return frozenset({"cancelled"})
        ends = frozenset({"completed"}) if self.reply else self.play.ends
        return ends | ({"cancelled"} if self.cancellings else set())

    def item(self, agent_id: str) -> str:
        """Return what a tool of this agent acts on."""
        return f"{self.question} by {agent_id}"

    def call_of(self, agent_id: str) -> tuple[str, str]:
        """Return the tool call that the model makes for this agent."""
        return self.play.acts[agent_id], json.dumps({"item": self.item(agent_id)})


def plan_run(seed: int, number: int) -> RunPlan:
    rng = Random(f"{seed}/run/{number}")
    return RunPlan(
        number=number,
        message_id=UUID(int=rng.getrandbits(128), version=4),
        play=draw_play(rng),
        readers=[
            draw_reader(rng, "fleet.json.v1", joins_after=0),
            draw_reader(
                rng, "fleet.html.v1", joins_after=rng.choice([0, 0, rng.random(), 3 * rng.random()])
            ),
            # By a generator of its own, so that the rest of a seed's plan stays as it was.
            draw_reader(
                events := Random(f"{seed}/events/{number}"),
                EVENTS,
                joins_after=events.choice([0, events.random()]),
            ),
        ],
        cancellings=draw_cancellings(rng),
        probes=draw_probes(rng),
    )


def plan_reply(
    seed: int,
    paused: RunPlan,
    run_id: UUID,
    asks: Sequence[Mapping[str, Any]],
    conversation: str = "",
) -> RunPlan:
    """Plan the run that goes on after a paused one, whose `ask.opened` had these data."""
    rng = Random(f"{seed}/reply/{paused.message_id}")
    replies = [draw_reply(rng, ask) for ask in asks]
    return RunPlan(
        number=paused.number,
        message_id=UUID(int=rng.getrandbits(128), version=4),
        play=paused.play,
        readers=[
            draw_reader(rng, "fleet.json.v1", joins_after=0),
            draw_reader(rng, "fleet.html.v1", joins_after=rng.choice([0, rng.random()])),
            draw_reader(Random(f"{seed}/events/{run_id}"), EVENTS, joins_after=0),
        ],
        cancellings=draw_cancellings(rng) if rng.random() < 0.3 else (),
        reply=ReplyPlan(
            run_id,
            replies,
            after=rng.choice([0, 0.5, 3]) * rng.random(),
            conversation=conversation,
        ),
    )


def draw_reply(rng: Random, ask: Mapping[str, Any]) -> dict[str, Any]:
    decisions = {"approve": 5, "refuse": 2, "withdraw": 1}
    if ask["kind"] == "approval":
        decisions["edit"] = 2
    [decision] = rng.choices(list(decisions), list(decisions.values()))
    reply = {"ask_id": ask["ask_id"], "decision": decision}
    if decision == "edit":
        reply["arguments"] = {"item": f"{ask['arguments']['item']}, changed"}
    return reply


def plan_poison(number: int) -> RunPlan:
    """Plan a run whose tool kills each worker that calls it."""
    play = Play(
        "poison",
        {"tokens": ["never ", "said"]},
        frozenset({"worker_lost"}),
        by_team=True,
        acts={"researcher": "poison"},
    )
    readers = [ReaderPlan("fleet.json.v1", 0, (), 0.2), ReaderPlan("fleet.html.v1", 0.1, (), 0.2)]
    return RunPlan(number, UUID(int=Random(number).getrandbits(128), version=4), play, readers)


def plan_quiet_cancel(seed: int, number: int) -> RunPlan:
    """Plan a run for the calm after the storm: a long answer that is cancelled."""
    rng = Random(f"{seed}/quiet/{number}")
    play = Play(
        "stopped in the quiet",
        {"tokens": draw_words(rng, 100, 100), "pace": 0.05},
        frozenset({"completed"}),
    )
    readers = [ReaderPlan("fleet.json.v1", 0, (), 0.2), ReaderPlan("fleet.html.v1", 0.1, (), 0.2)]
    cancelling = Cancelling(0.4 + rng.random(), [0, 1, None][number % 3], times=rng.choice([1, 2]))
    return RunPlan(number, UUID(int=rng.getrandbits(128), version=4), play, readers, [cancelling])


def draw_reader(rng: Random, subprotocol: str, *, joins_after: float) -> ReaderPlan:
    [most] = rng.choices([0, 3, 12, MAX_REJOINS], [45, 35, 15, 5])
    vanishes = [
        rng.choice([0, 1, 2, 5, 20, 60, 200]) for _ in range(rng.randint(min(most, 1), most))
    ]
    return ReaderPlan(subprotocol, joins_after, vanishes, stays=rng.choice([0, 0, 0.2]))


def draw_cancellings(rng: Random) -> list[Cancelling]:
    if rng.random() > 0.35:
        return []
    moment = rng.choice([0.05, 0.3, 1, 3, 6]) * rng.random()
    return [
        Cancelling(moment, rng.choice([0, 0, 1, None]), times=rng.choice([1, 1, 2]))
        for _ in range(rng.choice([1, 1, 2]))
    ]


def draw_probes(rng: Random) -> list[Probe]:
    kinds: list[ProbeKind] = ["beyond the end", "negative cursor", "another text"]
    return [Probe(kind, 4 * rng.random()) for kind in kinds if rng.random() < 0.2]


def draw_play(rng: Random) -> Play:
    done = frozenset({"completed"})
    makers = {
        "normal": (8, {"tokens": draw_words(rng, 20, 120), "pace": rng.uniform(0.005, 0.04)}, done),
        "long": (7, {"tokens": draw_words(rng, 100, 200), "pace": rng.uniform(0.04, 0.08)}, done),
        "thoughtful": (
            2,
            {"tokens": draw_words(rng, 20, 60), "pace": 0.03, "reasoning": draw_words(rng, 5, 30)},
            done,
        ),
        "late": (
            1,
            {"tokens": draw_words(rng, 10, 40), "first_after": rng.uniform(0.5, 2), "pace": 0.01},
            done,
        ),
        "burst": (2, {"tokens": draw_words(rng, BURST, BURST), "at_once": True}, done),
        "giant": (
            1,
            {"tokens": ["so ", draw_giant(rng), *draw_words(rng, 3, 9)], "pace": 0.05},
            done,
        ),
        "trickle": (1, {"tokens": draw_words(rng, 10, 40), "trickle": True, "pace": 0.02}, done),
        "flaky": (
            1,
            {"tokens": draw_words(rng, 10, 40), "status": 500, "fail_times": rng.randint(1, 2)},
            done,
        ),
        "refusing": (1, {"tokens": [], "status": 500}, frozenset({"model_unavailable"})),
        "busy": (
            0.5,
            {"tokens": [], "status": 429, "headers": {"retry-after": "30"}},
            frozenset({"rate_limited"}),
        ),
        "mute": (
            1,
            {"tokens": draw_words(rng, 3, 9), "hang_after": 0},
            frozenset({"first_chunk_timeout"}),
        ),
        "hanging": (
            1,
            {"tokens": draw_words(rng, 30, 40), "hang_after": rng.randint(1, 29), "pace": 0.01},
            frozenset({"idle_timeout"}),
        ),
        "cut": (
            1,
            {"tokens": draw_words(rng, 30, 40), "cut_after": rng.randint(1, 29), "pace": 0.02},
            frozenset({"model_error"}),
        ),
        "garbage": (
            1,
            {"tokens": draw_words(rng, 30, 40), "garbage_after": rng.randint(1, 29), "pace": 0.02},
            frozenset({"model_error"}),
        ),
        "endless": (
            0.3,
            {"tokens": draw_words(rng, 150, 150), "pace": 0.5},
            frozenset({"max_runtime"}),
        ),
        "team": (3, {"tokens": draw_words(rng, 20, 60), "pace": 0.02}, done),
        "doubtful": (2, {"tokens": draw_words(rng, 20, 60), "pace": 0.02}, done),
        "acting": (2, {"tokens": draw_words(rng, 20, 60), "pace": 0.02}, done),
        "asking": (3, {"tokens": draw_words(rng, 20, 60), "pace": 0.02}, frozenset({"paused"})),
    }
    [name] = rng.choices(list(makers), [weight for weight, _, _ in makers.values()])
    _, script, ends = makers[name]
    doubtful = (
        {"tokens": ["I ", "don't ", "know ", "that."], "pace": 0.05} if name == "doubtful" else None
    )
    by_team = name in ("team", "doubtful", "acting", "asking")
    return Play(name, script, ends, by_team=by_team, doubtful=doubtful, acts=draw_acts(rng, name))


def draw_acts(rng: Random, name: str) -> Mapping[str, ToolName]:
    if name == "acting":
        return {"researcher": "book"}
    if name == "asking":
        others: list[dict[str, ToolName]] = [{}, {"analyst": "pay"}, {"analyst": "book"}]
        return {"researcher": "pay", **rng.choice(others)}
    return {}


def draw_words(rng: Random, least: int, most: int) -> list[str]:
    return [f"{rng.choice(WORDS)} " for _ in range(rng.randint(least, most))]


def draw_giant(rng: Random) -> str:
    return " ".join(f"{rng.choice(WORDS)}{number}" for number in range(GIANT // 9))[:GIANT]
