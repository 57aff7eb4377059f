"""`POST /v1/chat/completions`."""

from uuid import uuid4

from chat.doors.asking import ask, cancel_when_left
from chat.doors.calls import Call, Reply, Response, Route
from chat.doors.errors import bad
from chat.doors.streams import Stream, Whole, refusal_of_run
from chat.entrance import Entrance
from chat.protocol.events import Error
from chat.protocol.requests import ChatRequest

from .chunks import Chunks, Completion, completion_of
from .messages import TASK, told_of
from .models import TAG, Chosen, chosen_by
from .requests import ChatCompletionRequest, check, end_user_of, ignored_in

HOLD = 5.0  # seconds for which the head waits for the first words


async def complete(call: Call) -> Response:
    wanted: ChatCompletionRequest = call.body
    check(wanted)
    chosen = await chosen_by(wanted.model, call.who)
    if ignored := ignored_in(wanted):
        call.headers["fleet-ignored"] = ", ".join(ignored)
    request, entrance = question_of(call, wanted, chosen)
    goes_on_alone = wanted.goes_on_alone
    run = await ask(call, request, entrance)
    call.headers["fleet-run"] = str(run.pk)
    on_leave = None if goes_on_alone else cancel_when_left(run)
    # The words of a plain answer become a title, or whatever was asked for.
    with_steps = wanted.options.steps == "reasoning" and request.mode != "plain"
    if wanted.stream:
        options = wanted.stream_options
        include_usage = bool(options and options.include_usage)
        chunks = Chunks(run, wanted.model, include_usage=include_usage, with_steps=with_steps)
        return Stream(call, run, chunks, hold=HOLD, on_leave=on_leave)
    reading = Whole(call, run, on_leave=on_leave)
    await reading.follow()
    events = [entry.event for entry in reading.events]
    if isinstance(last := events[-1], Error):
        raise refusal_of_run(last)
    return Reply(completion_of(run, wanted.model, events, with_steps=with_steps))


def question_of(
    call: Call, wanted: ChatCompletionRequest, chosen: Chosen
) -> tuple[ChatRequest, Entrance]:
    """Return what is asked, and what comes with it. Raise Refusal if it can't be."""
    message, told = told_of(wanted.messages)
    conversation_id = wanted.conversation_id
    is_task = chosen.mode == "auto" and message.startswith(TASK)
    try:
        request = ChatRequest(
            message=message,
            message_id=uuid4(),
            conversation_id=conversation_id,
            mode="light" if is_task else chosen.mode,
            model=chosen.model,
            fresh=wanted.options.fresh,
            preference=wanted.options.preference,
            reasoning_effort=wanted.effort,
        )
    except ValueError as exc:
        raise bad(f"Invalid request: {exc}.", "messages") from exc
    entrance = Entrance(
        "openai",
        told=None if conversation_id else told,
        end_user=end_user_of(
            wanted.safety_identifier, wanted.user, call.header("x-openwebui-user-id")
        ),
        is_kept=bool(wanted.store),
    )
    return request, entrance


ROUTES = (
    Route(
        "POST",
        "/v1/chat/completions",
        complete,
        "Ask, as the chat completions of OpenAI do.",
        "ask",
        body=ChatCompletionRequest,
        gives=Completion,
        streams="Chunks of the answer as `data:`, then `data: [DONE]`. A stream that fails ends"
        " with an error object in place of a finish_reason.",
        tag=TAG,
    ),
)
