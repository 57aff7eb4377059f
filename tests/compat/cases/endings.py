"""How an answer ends."""

from ..case import Case, Outcome, answers, case, fails
from ..wire import (
    ANSWER,
    DONE,
    HALF,
    USAGE,
    WORDS,
    End,
    chunk,
    completion,
    document,
    event,
    finish,
    say,
    stream,
    usage_chunk,
)
from .fields import each_word

LIMIT = ["limit", "cut", "length"]
FILTER = ["filter", "policy", "policies"]
HANDED: tuple[Case, ...] = (
    answers("finish-empty", stream(each_word(lambda word: chunk({"content": word}, "")), finish())),
    answers("done-without-finish", stream(say(), event(usage_chunk()), DONE)),
    answers("finish-length", stream(say(), finish("length")), says=LIMIT),
    case(
        "filter-mid-answer",
        stream(say(*HALF), finish("content_filter")),
        Outcome(begins="Lantern light", says=FILTER),
        Outcome(code="any", begins="Lantern light", says=FILTER[:2]),
    ),
    case(
        "refusal",
        stream(say("Not ", "this ", "one.", key="refusal"), finish()),
        Outcome("Not this one."),
    ),
    fails("reset-mid-answer", stream(say(*HALF), 0.1, End.RESET), begins="Lantern light"),
)
FURTHER: tuple[Case, ...] = (
    answers("finish-eos", stream(say(), finish("eos"))),
    answers("finish-eos-token", stream(say(), finish("eos_token"))),
    answers("finish-end-turn", stream(say(), finish("end_turn"))),
    answers("finish-upper", stream(say(), finish("STOP"))),
    answers("finish-complete", stream(say(), finish("COMPLETE"))),
    answers("finish-stop-sequence", stream(say(), finish("stop_sequence"))),
    answers("finish-unknown", stream(say(), finish("weary"))),
    answers("finish-twice", stream(say(), event(chunk({}, "stop")), finish())),
    answers(
        "finish-with-last-word",
        stream(say(*WORDS[:-1]), event(chunk({"content": WORDS[-1]}, "stop", usage=USAGE)), DONE),
    ),
    answers(
        "words-behind-finish",
        stream(
            say(*WORDS[:-1]),
            event(chunk({}, "stop")),
            event(chunk({"content": WORDS[-1]})),
            event(usage_chunk()),
            DONE,
        ),
    ),
    answers("finish-max-tokens", stream(say(), finish("max_tokens")), says=LIMIT),
    answers("finish-max-tokens-upper", stream(say(), finish("MAX_TOKENS")), says=LIMIT),
    answers("finish-model-length", stream(say(), finish("model_length")), says=LIMIT),
    answers(
        "finish-length-in-document", document(completion({"content": ANSWER}, "length")), says=LIMIT
    ),
    answers(
        "document-without-finish",
        document({"choices": [{"message": {"content": ANSWER}}], "usage": USAGE}),
    ),
    answers("document-finish-null", document(completion({"content": ANSWER}, None))),
    *(
        case(
            f"finish-{reason.lower()}",
            stream(say(*HALF), finish(reason)),
            Outcome(begins="Lantern light", says=FILTER),
            Outcome(code="any", begins="Lantern light", says=FILTER),
        )
        for reason in ("safety", "content-filter", "PROHIBITED_CONTENT", "RECITATION", "sensitive")
    ),
    case("filter-before-all", stream(finish("content_filter")), Outcome(code="any", says=FILTER)),
    case(
        "finish-error",
        stream(say(*HALF), finish("error")),
        Outcome(code="any", begins="Lantern light"),
    ),
    case(
        "refusal-in-document",
        document(completion({"content": None, "refusal": "Not this one."})),
        Outcome("Not this one."),
    ),
    case(
        "refusal-as-finish",
        stream(say("Not ", "this ", "one."), finish("refusal")),
        Outcome("Not this one."),
    ),
    fails("closed-mid-answer", stream(say(*HALF), framing="close"), begins="Lantern light"),
    fails("chunks-cut", stream(say(*HALF), 0.05, End.CLOSED), begins="Lantern light"),
    fails("empty-answer", stream(event(chunk({"content": ""})), finish())),
    fails(
        "only-blanks",
        stream(event(chunk({"content": "\n"})), event(chunk({"content": " "})), finish()),
    ),
    fails("document-without-text", document(completion({"content": None}))),
    fails("document-without-choices", document(completion({}) | {"choices": []})),
)
