"""What a model call costs."""

import time

from chat.clock import Clock, Stopwatch
from chat.llm.messages import ChatMessage, Finished, Reasoning, Text, WantedCall, estimated_usage
from chat.protocol.terms import Usage
from chat.workflow.calls import CallRecord

MESSAGES = [ChatMessage("user", "Why?")]
PIECES = (Reasoning("t" * 400), Text("w" * 40), WantedCall("c1", "websearch", "a" * 80))


def heard() -> CallRecord:
    record = CallRecord(1, "scripted", MESSAGES, Stopwatch(Clock(time.perf_counter())))
    for piece in PIECES:
        record.hear(piece)
    return record


def test_estimate_counts_thinking_and_tool_calls_if_a_call_is_cut_or_not() -> None:
    cut, ended = heard(), heard()
    ended.hear(Finished(estimated_usage(MESSAGES, 40), words=11))
    assert cut.usage == ended.usage == estimated_usage(MESSAGES, 520)


def test_report_of_the_server_replaces_the_estimate() -> None:
    record, reported = heard(), Usage(input_tokens=3, output_tokens=200, model_calls=1)
    record.hear(Finished(reported, words=50))
    assert record.usage == reported
