"""Faults whose ends take seconds. All scenes play at once; each test checks one fact of a scene."""

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from chat.protocol.terms import SUBPROTOCOL_HTML, SUBPROTOCOL_JSON
from tests.chatting import kinds, text_of

from .scenes import (
    LONG,
    Filled,
    Jumped,
    Killed,
    Slept,
    can_mount,
    fill_the_disk,
    kill_a_worker,
    let_clocks_jump,
    sleep_through_the_end,
)

pytestmark = pytest.mark.processes

# Seconds from kill -9 of a worker until its runs go on at each follower, with the default lease and
# no word of the parent. By construction it is 13.75 s: a lease of 10 s, then three checks 1.25 s
# apart.
MAX_PAUSE = 15.0
MAX_PAUSE_PRESSED = 18.0  # while processes waited for a processor
MAX_REFUSAL_TIME = 15.0

SCENES: dict[str, Callable[[Path], Coroutine[Any, Any, Any]]] = {
    "killed": kill_a_worker,
    "slept": sleep_through_the_end,
    "jumped": let_clocks_jump,
    "filled": fill_the_disk,
}


@pytest.fixture(scope="module")
def played(
    tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> dict[str, Any]:
    """Play the scenes that the chosen tests need; return the result or the error of each."""
    folder = tmp_path_factory.mktemp("scenes")
    wanted = {item.cls.SCENE for item in request.session.items if item.path == request.path}
    names = [name for name in SCENES if name in wanted and (name != "filled" or can_mount(folder))]

    async def play() -> list[Any]:
        return await asyncio.gather(
            *(SCENES[name](folder / name) for name in names), return_exceptions=True
        )

    return dict(zip(names, asyncio.run(play()), strict=True))


def result_of(played: dict[str, Any], name: str) -> Any:
    if name not in played:
        pytest.skip("no file system can be mounted here")
    if isinstance(played[name], BaseException):
        raise played[name]
    return played[name]


class TestKilledWorker:
    SCENE = "killed"

    @pytest.fixture
    def killed(self, played: dict[str, Any]) -> Killed:
        return result_of(played, self.SCENE)

    def test_all_runs_complete(self, killed: Killed) -> None:
        assert set(killed.endings) == {"completed"}

    def test_runs_of_the_killed_worker_go_on_in_time(self, killed: Killed) -> None:
        assert len(killed.seconds_to_resumed) >= len(killed.endings)
        assert max(killed.seconds_to_resumed) < (
            MAX_PAUSE_PRESSED if killed.was_pressed else MAX_PAUSE
        )

    def test_scene_breaks_no_rule_of_the_storm(self, killed: Killed) -> None:
        assert [broken for broken in killed.violations if broken.rule != "model"] == []


class TestSleepingPhone:
    SCENE = "slept"

    @pytest.fixture(params=[SUBPROTOCOL_JSON, SUBPROTOCOL_HTML])
    def slept(self, played: dict[str, Any], request: pytest.FixtureRequest) -> Slept:
        return result_of(played, self.SCENE)[request.param]

    def test_phone_gets_the_rest_of_the_answer(self, slept: Slept) -> None:
        assert text_of([*slept.before, *slept.after]) == "".join(f"word{n} " for n in range(400))

    def test_phone_gets_one_terminal(self, slept: Slept) -> None:
        assert [
            kind for kind in kinds([*slept.before, *slept.after]) if kind in ("done", "error")
        ] == ["done"]
        assert kinds(slept.after)[-2:] == ["response.completed", "done"]

    def test_cursor_of_the_phone_never_goes_back(self, slept: Slept) -> None:
        seqs = [event["seq"] for event in [*slept.before, *slept.after]]
        assert seqs == sorted(seqs)


class TestClocks:
    SCENE = "jumped"

    @pytest.fixture
    def jumped(self, played: dict[str, Any]) -> Jumped:
        return result_of(played, self.SCENE)

    def test_jump_ends_no_run_of_a_live_worker(self, jumped: Jumped) -> None:
        assert set(jumped.endings) == {"completed"}

    def test_runs_of_a_worker_that_died_an_hour_ahead_go_on_in_time(self, jumped: Jumped) -> None:
        assert set(jumped.endings_after_death) == {"completed"}
        assert max(jumped.seconds_to_resumed) < MAX_PAUSE

    def test_scene_breaks_no_rule_of_the_storm(self, jumped: Jumped) -> None:
        assert [broken for broken in jumped.violations if broken.rule != "model"] == []


class TestFullDisk:
    SCENE = "filled"

    @pytest.fixture
    def filled(self, played: dict[str, Any]) -> Filled:
        return result_of(played, self.SCENE)

    def test_question_is_refused_while_the_disk_is_full(self, filled: Filled) -> None:
        [refusal] = filled.refusal
        assert (refusal["error"]["code"], refusal["error"]["retryable"]) == (
            "storage_unavailable",
            True,
        )
        assert filled.took < MAX_REFUSAL_TIME

    def test_refused_question_leaves_no_rows(self, filled: Filled) -> None:
        assert filled.rows_of_refused == []

    def test_finished_answer_is_stored_once_there_is_space(self, filled: Filled) -> None:
        assert "database or disk is full" in filled.complaint
        assert kinds(filled.kept)[-2:] == ["response.completed", "done"]
        assert filled.stored == [("completed", f"All of {LONG}")]

    def test_questions_are_answered_once_there_is_space(self, filled: Filled) -> None:
        assert filled.later[-1]["data"]["status"] == "completed"
