"""A short storm over a real fleet; `manage.py chaos` plays longer ones."""

from uuid import uuid4

import pytest

from tests.chaos.checks import Evidence, ending_breaks, model_breaks
from tests.chaos.driver import Storm, run
from tests.chaos.journal import LATENESS, Journal, Window
from tests.chaos.plans import Play, RunPlan
from tests.chaos.rows import Row
from tests.scripted_model import Call, Script


@pytest.mark.processes
def test_short_storm_breaks_no_rule() -> None:
    report = run(Storm(runs=24, seed=55, concurrency=12, max_freeze=5), write=print)
    assert not report.violations, report.text()


@pytest.mark.parametrize(
    ("stored", "is_right"),
    [
        ("", True),
        # The light answer may be stored if the worker died before it stored more of the team's.
        ("I don't know that.", True),
        ("I don't know that. No.", False),
        ("Here is ", True),
        ("Here is the answer", False),  # more than was sent
        ("note", False),  # by another agent of the team
    ],
)
def test_stored_text_must_come_from_one_model_call(stored: str, *, is_right: bool) -> None:
    light = Script(tokens=["I don't ", "know that."])
    final = Script(tokens=["Here ", "is ", "the ", "answer"])
    play = Play(
        "doubtful",
        {"tokens": final.tokens},
        frozenset({"completed"}),
        by_team=True,
        doubtful={"tokens": light.tokens},
    )
    plan = RunPlan(number=1, message_id=uuid4(), play=play, readers=[])
    calls = [
        Call({}, light, {}, sent=2),
        Call({}, Script(tokens=["note"]), {}, sent=1),
        Call({}, final, {}, sent=1),
    ]
    row = Row(uuid4(), "failed", "worker_lost", {"lost": True}, None, 10, "", stored, "worker.1")
    assert (not list(model_breaks(row, Evidence(plan, [], asked_at=0, calls=calls)))) is is_right


@pytest.mark.parametrize(
    ("late", "is_right"),
    [
        ([], False),
        ([(5, 5.2)], False),
        ([(5, 6.5)], True),
        ([(5, 5.6), (6, 6.6)], True),
        ([(2, 3.5), (9, 10.5)], False),  # before and after the run
    ],
)
def test_timeout_is_excused_if_the_model_server_was_late(
    late: list[tuple[float, float]], *, is_right: bool
) -> None:
    plan = RunPlan(
        number=1,
        message_id=uuid4(),
        play=Play("late", {"tokens": ["word"]}, frozenset({"completed"})),
        readers=[],
    )
    journal = Journal(windows=[Window(*LATENESS, since, until) for since, until in late])
    row = Row(uuid4(), "failed", "first_chunk_timeout", {}, None, 10, "", "", "worker.1")
    assert (
        not list(ending_breaks(row, Evidence(plan, [], asked_at=4, ended_at=8), journal))
    ) is is_right
