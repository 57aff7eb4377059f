"""POST /agui: a run of a thread, as a stream of AG-UI."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID, uuid4, uuid5

from chat.access.owners import Owner
from chat.asks import Ask
from chat.conversations import Conversation
from chat.database import read_in_database
from chat.doors.asking import ask, cancel_when_left
from chat.doors.calls import Call, Reply, Response, Route
from chat.doors.errors import bad, refused
from chat.doors.streams import Stream, Whole
from chat.entrance import Entrance
from chat.models import Run
from chat.protocol.errors import ALREADY_ANSWERED, EXPIRED, ProtocolError
from chat.protocol.requests import ChatRequest, ReplyRequest
from chat.runs.worker import Worker

from .interrupts import ids_in, replies_of
from .rendering import COMPLETE, Rendering
from .request import ResumeEntry, RunAgentInput, Sent
from .results import result_id
from .state import Cursor, State, Text, ToolCall, crc_of, key_of

THREADS = UUID("f4b7f9b2-6b0e-4c53-9f3a-0b5f1c7f3f0e")  # the namespace of conversations


@dataclass(frozen=True, slots=True)
class Place:
    """Where a request belongs: the conversation of its thread, and the asks that it replies to."""

    conversation_id: UUID
    is_new: bool
    asks: Sequence[Ask] = ()


async def run_agent(call: Call) -> Response:
    asked: RunAgentInput = call.body
    cursor = Cursor.of(call.header("last-event-id"))
    if cursor.state.has_ended:
        # The client has all of it. It would take another ending for a fault.
        return Reply(status=204)
    owner = call.who.owner
    sent = Sent(call.raw, asked.behind_question)
    if sent.is_cut or asked.resume:
        sent.check()
    place = await read_in_database(place_of, owner, asked)
    key = f"{asked.thread_id}\n{asked.run_id}"
    request: ChatRequest | ReplyRequest | None = None
    entrance = Entrance("agui")
    if asked.resume:
        request = reply_of(asked.resume, place.asks, after=cursor.after)
        if asks_anew(asked, place.asks):
            await withdraw(call, request, key=f"{key}\nwithdrawn")
            request = None
    if request is None:
        request, entrance = question_of(asked, place, after=cursor.after)
    run = await run_of(call, request, entrance, key=key)
    if run.continues_id:
        state, sent = await read_in_database(state_behind, run.continues_id, run, call)
        cursor = cursor if cursor.state.has_begun else Cursor(state=state)
    rendering = Rendering(
        asked.thread_id, asked.run_id, run_id=str(run.pk), sent=sent, cursor=cursor
    )
    return Stream(
        call,
        run,
        rendering,
        after=cursor.after,
        reads="every",
        headers={"fleet-run": str(run.pk)},
        on_leave=cancel_when_left(run) if asked.chosen.on_disconnect == "cancel" else None,
    )


async def run_of(
    call: Call, request: ChatRequest | ReplyRequest, entrance: Entrance, *, key: str
) -> Run:
    """Return the run of a request. Raise ProtocolError if it is refused.

    The same replies once more, by another run of the client, join the run that they have started.
    """
    try:
        return await ask(call, request, entrance, key=key)
    except ProtocolError as exc:
        if exc.error != ALREADY_ANSWERED or not isinstance(request, ReplyRequest):
            raise
        run = await read_in_database(run_behind, call.who.owner, request)
        if run is None:
            raise
    await Worker.current().readers.mark(run.pk)
    return run


def run_behind(owner: Owner, request: ReplyRequest) -> Run | None:
    """Return the run that these replies have started; None if others did. Reads the database."""
    given = Ask.objects.were_closed_by(request.replies, of=request.continues, by=str(owner))
    return Run.objects.filter(continues=request.continues).first() if given else None


def place_of(owner: Owner, asked: RunAgentInput) -> Place:
    """Return where a request belongs. Foreign ids are as unknown ones. Reads the database."""
    derived = uuid5(THREADS, f"{owner}\n{asked.thread_id}")
    try:
        named = UUID(asked.thread_id)
    except ValueError:
        named = derived
    own = Conversation.objects.for_owner(owner).filter(pk__in={named, derived})
    found = set(own.values_list("pk", flat=True))
    conversation_id = named if named in found else derived
    asks: Sequence[Ask] = ()
    if asked.resume and found:
        asks = list(
            Ask.objects.select_related("run__question").filter(
                pk__in=ids_in(asked.resume), conversation=conversation_id
            )
        )
    return Place(conversation_id, not found, asks)


def question_of(asked: RunAgentInput, place: Place, *, after: int) -> tuple[ChatRequest, Entrance]:
    """Return the question with what was told before. Raise Refusal if there is none."""
    question, told = asked.told()
    chosen = asked.chosen
    try:
        request = ChatRequest(
            message=question,
            message_id=uuid4(),
            conversation_id=None if place.is_new else place.conversation_id,
            mode=chosen.mode,
            fresh=chosen.fresh,
            reasoning_effort=chosen.effort,
            model=chosen.model,
            preference=chosen.preference,
            after=after,
        )
    except ValueError as exc:
        raise bad(f"Invalid request: {exc}.", "forwardedProps.fleet") from exc
    new = place.conversation_id if place.is_new else None
    return request, Entrance("agui", told=told, conversation_id=new)


def reply_of(entries: Sequence[ResumeEntry], asks: Sequence[Ask], *, after: int) -> ReplyRequest:
    """Return the replies to what a run asks. Raise Refusal."""
    replies = replies_of(entries, asks)
    runs = {ask.run_id for ask in asks}
    if len(runs) > 1:
        raise refused(400, "bad_request", "These interrupts are of several runs.", param="resume")
    try:
        return ReplyRequest(message_id=uuid4(), continues=runs.pop(), replies=replies, after=after)
    except ValueError as exc:
        raise bad(f"Invalid request: {exc}.", "resume") from exc


def asks_anew(asked: RunAgentInput, asks: Sequence[Ask]) -> bool:
    """Return True if the person has not replied, but asked something else."""
    is_cancelled = all(entry.status == "cancelled" for entry in asked.resume or ())
    is_asked = bool(asked.messages) and asked.messages[-1].role == "user"
    return is_cancelled and is_asked and asked.told()[0] != asks[0].run.question.text


async def withdraw(call: Call, request: ReplyRequest, *, key: str) -> None:
    """Take a question back, and wait until its run has ended."""
    try:
        run = await ask(call, request, Entrance("agui"), key=key)
    except ProtocolError as exc:
        # One that nobody waits for any more needs no reply.
        if exc.error not in (EXPIRED, ALREADY_ANSWERED):
            raise
    else:
        await Whole(call, run).follow()


def state_behind(paused: UUID, run: Run, call: Call) -> tuple[State, Sent]:
    """Return the state of a stream that goes on with a paused run, and what its client has of that.

    Calls that wait get their results, and the answer goes on in the message that it has begun.
    Reads the database.
    """
    asked: RunAgentInput = call.body
    state = State()
    results: set[str] = set()
    for waiting in Ask.objects.filter(run=paused).exclude(kind=Ask.Kind.QUESTION):
        key = key_of(waiting.agent_id, waiting.call_id)
        state.calls[key] = ToolCall(str(waiting.pk), COMPLETE)
        results.add(result_id(str(waiting.pk)))
    ids = {message.id for message in asked.messages}
    left_out = {id_ for id_ in ids if id_ in results or id_.startswith(str(run.pk))}
    words = Run.objects.filter(pk=paused).values_list("answer__text", flat=True).first() or ""
    begun: dict[str, str] = {}
    for message in reversed(asked.messages):
        content = message.content if message.role == "assistant" else None
        is_answer = isinstance(content, str) and content.startswith(words)
        # Ids that another server has made may not fit into a header.
        if words and is_answer and message.id.isascii() and message.id not in left_out:
            state.text = Text(message.id, len(words), crc_of(words), is_open=False)
            begun = {} if content == words else {message.id: words}
            break
    return state, Sent(call.raw, None, frozenset(left_out), begun)


ROUTES = (
    Route(
        "POST",
        "/agui",
        run_agent,
        "Ask a question, or reply to interrupts, as AG-UI 1.0 has it.",
        "ask",
        body=RunAgentInput,
        streams="the events of AG-UI 1.0; a message's id goes into Last-Event-ID",
        nothing="The client has the ending.",
        tag="AG-UI",
    ),
)
