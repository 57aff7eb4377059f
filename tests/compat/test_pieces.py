"""The handed streams once more: each byte as a piece of its own, and all bytes as one piece."""

import asyncio
from collections.abc import Iterator

import pytest

from tests.cases import chosen, one_in

from .asking import Played, fleet_of, play_all
from .bank import HANDED
from .case import Case
from .server import Exchange, RawServer
from .wire import Reply

MESSAGES = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello"}]
FIRST = Exchange(0, "/v1/chat/completions", {}, {"messages": MESSAGES}, 0.0)


def streams(case: Case) -> bool:
    """Return True if the first reply of this case is a stream."""
    return not case.refuses and case.play(FIRST).is_stream


CASES = tuple(
    case.variant(name, change)
    for case in HANDED
    if streams(case)
    for name, change in (("in bytes", Reply.in_bytes), ("in one piece", Reply.in_one_piece))
)


@pytest.fixture(scope="module")
def played(
    tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[dict[str, Played]]:
    cases = chosen(request, "case")
    server = RawServer(cases)
    try:
        with fleet_of(tmp_path_factory.mktemp("fleet"), server) as fleet:
            yield asyncio.run(play_all(fleet, server, cases))
    finally:
        server.stop()


@pytest.mark.parametrize("case", one_in(5, CASES), ids=lambda case: case.name)
def test_pieces_of_any_size_give_the_same(played: dict[str, Played], case: Case) -> None:
    if fault := played[case.name].fault:
        pytest.fail(fault, pytrace=False)
