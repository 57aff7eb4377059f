"""The bank of cases, over real sockets from a real fleet, with a server that decides over bytes."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.cases import chosen, one_in
from tests.serving import Fleet

from .asking import API_KEY, Played, fleet_of, play_all
from .bank import FURTHER, HANDED
from .case import Case
from .server import RawServer

NUMBER_HANDED = 82
MAX_LOG_LINE = 2300  # characters: 2,000 of the server, and what stands before and behind them
# Each is sent by one case only.
WORDS_OF_SERVERS = (
    "sleeps until Monday",
    "Heron takes one picture",
    "grove lost a shard",
    "slot 3 broke down",
    "No channel for this group",
)
CASES = [*one_in(1, HANDED), *one_in(3, FURTHER)]


@dataclass(frozen=True, slots=True)
class Bank:
    """All cases, played once."""

    fleet: Fleet
    played: dict[str, Played]


@pytest.fixture(scope="module")
def bank(
    tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[Bank]:
    further = [case for case in chosen(request, "case") if case not in HANDED]
    cases = [*HANDED, *further]  # Some tests read what the handed ones have left in the log.
    server = RawServer(cases)
    try:
        with fleet_of(tmp_path_factory.mktemp("fleet"), server) as fleet:
            yield Bank(fleet, asyncio.run(play_all(fleet, server, cases)))
    finally:
        server.stop()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_case_gives_what_it_must(bank: Bank, case: Case) -> None:
    if fault := bank.played[case.name].fault:
        pytest.fail(fault, pytrace=False)


def test_no_case_leaves_a_traceback_in_the_log(bank: Bank) -> None:
    assert "Traceback" not in bank.fleet.complained
    assert "Traceback" not in bank.fleet.said


@pytest.mark.parametrize("words", WORDS_OF_SERVERS)
def test_log_has_the_words_of_a_server_once(bank: Bank, words: str) -> None:
    lines = [line for line in bank.fleet.complained.splitlines() if words in line]
    assert len(lines) == 1


def test_log_lines_are_short_and_hold_no_key(bank: Bank) -> None:
    assert max(map(len, bank.fleet.complained.splitlines())) < MAX_LOG_LINE
    assert API_KEY not in bank.fleet.complained


def test_bank_holds_all_handed_cases() -> None:
    assert len({case.name for case in HANDED}) == NUMBER_HANDED
