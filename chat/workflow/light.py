"""The light path: one agent, one answer, and few tool calls: one before its model is asked."""

import re

import msgspec

from chat.llm.errors import EmptyAnswer
from chat.llm.messages import WantedCall
from chat.llm.servers import is_named
from routing.languages import language_of
from routing.policy import Route
from tooling.known import arguments_for
from tooling.sentences import sentence

from .agent_models import model_of, window_of
from .crew import crew
from .prompt import prompt
from .said import Said
from .sentences import reason_in
from .stand_in import examples, readable
from .turn import Turn
from .work import Work

MAX_UNSURE_CHARS = 400  # a longer answer says more than that it does not know
# How an answer begins if it has nothing to give, by language.
APOLOGY = (
    r"(?:as an ai\b[^.]{0,40}?, *)?"
    r"(?:(?:i am |i'm |i’m )?(?:very |so )?(?:sorry|afraid)\b[^.]{0,30}?[,.]? *|"
    r"unfortunately,? *|i apologi[sz]e\b[^.]{0,30}?[,.] *|"
    r"leider |entschuldigung,? *|(?:es )?tut mir (?:sehr )?leid,? *|"
    r"désolée?,? *|lo siento,? *|mi dispiace,? *|desculpe,? *)?"
    r"(?:but |aber |mais |pero |ma |mas )?"
)
UNSURE_PHRASES = (
    r"i(?:'m| am|’m) (?:not sure|unsure|unable to|not able to)",
    r"i (?:really |actually )?(?:do not|don['’]t) know",
    r"i (?:cannot|can['’]t|could not|couldn['’]t) "
    r"(?:answer|help|assist|find|access|provide|determine|tell|say|browse|look)",
    r"i (?:do not|don['’]t) have (?:any |the |that |enough |access|information|real|current|up)",
    r"i (?:have no (?:information|access|way|idea|knowledge)"
    r"|lack (?:the )?(?:information|access|knowledge))",
    r"(?:das |es )?weiß ich (?:das |es )?(?:leider )?nicht|ich weiß (?:das |es )?(?:leider )?nicht",
    r"(?:das |dabei )?kann ich .{0,30}\bnicht",
    r"ich kann .{0,30}\bnicht (?:beantworten|sagen|finden|helfen)",
    r"je ne (?:sais|peux) pas",
    r"no (?:lo )?(?:sé|puedo)\b",
    r"non (?:lo )?(?:so|posso)\b",
    r"(?:eu )?não (?:sei|posso)\b",
)
UNSURE = re.compile(rf"\W*{APOLOGY}(?:{'|'.join(UNSURE_PHRASES)})", re.IGNORECASE)
WAS_REFUSAL = sentence("the light answer was a refusal")
NEEDED_TOOLS = sentence("the light answer needed more tools than it may use")
NEEDED_WORDS = sentence("the light answer needed more words than it may use")


class Light:
    """One light answer in progress.

    `may_escalate`: the team can take over, so the answer stops when it falls short.
    """

    def __init__(self, work: Work, route: Route, *, may_escalate: bool) -> None:
        self.work = work
        self.route = route
        self.may_escalate = may_escalate
        assistant = crew().assistant
        model, window = model_of(assistant, work.question), window_of(assistant, work)
        question = readable(work.question, model, max_tokens=window.context_tokens)
        self.turn = Turn(
            assistant,
            work,
            prompt(assistant, question, window.context_tokens, examples(model)),
            # The cap is that of the fleet's own models.
            max_tokens=window.output_tokens if is_named(model) else work.meter.caps.tokens,
            tools=crew().tools_of(assistant, work.toolbox.names),
            # The last round is offered no tools.
            rounds=1 if work.question.mode == "plain" else work.meter.supersteps,
            is_answer=True,
            stops_when_short=may_escalate,
        )

    async def answer(self) -> str | None:
        """Write the answer. Return why it isn't good enough, or None if it is.

        Raise ModelError if the model fails.
        """
        with self.work.phase("answer"):
            first, lacking = self.obvious_call()
            try:
                said = await self.turn.take(first, lacking=lacking)
            except EmptyAnswer:
                if not self.may_escalate:
                    raise
                return limit_of(self.turn.said) or "the light answer was empty"
        return shortfall_of(said) if self.may_escalate else None

    def obvious_call(self) -> tuple[WantedCall | None, str]:
        """Return the tool call that obviously answers the question, or why it can't be made.

        The call is not left to the model: that would take a second model call.
        """
        call, lacking = None, ""
        question = self.work.question
        follows = question.earlier[-1].question if self.route.is_follow_up else ""
        for tool in self.route.tools:
            if reason := self.work.toolbox.reason_off(tool):
                lacking = reason_in(language_of(question.text), reason)
                self.work.say(lacking)
            elif (arguments := arguments_for(tool, question.text, follows=follows)) is not None:
                call = WantedCall("call_route", tool, msgspec.json.encode(arguments).decode())
        return call, lacking


DID_NOT_KNOW = sentence("the light answer did not know")
REACHED_LIMIT = sentence("the light answer reached the limit of %(cap)s")


def shortfall_of(said: Said) -> str | None:
    """Return why a finished light answer isn't good enough, or None if it is."""
    if limit := limit_of(said):
        return limit
    if said.is_refused:
        return WAS_REFUSAL
    # If the search is missing, the team would not know either.
    is_unsure = len(said.text) <= MAX_UNSURE_CHARS and UNSURE.match(said.text)
    return DID_NOT_KNOW if is_unsure and not said.lacks else None


def limit_of(said: Said) -> str | None:
    """Return the limit that the light answer met, as a reason for the team; None if it met none."""
    if said.ran_short:
        return NEEDED_TOOLS
    if said.is_cut:
        return NEEDED_WORDS
    return REACHED_LIMIT % {"cap": said.cap} if said.cap else None
