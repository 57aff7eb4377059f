"""The frames of our own server, as a WebSocket client reads them."""

import pytest
from websockets.client import ClientProtocol
from websockets.frames import Frame, Opcode
from websockets.protocol import OPEN
from websockets.uri import parse_uri

from agenticfleet.server import BINARY, CONTINUATION, PIECE, TEXT, frame


def read(data: bytes) -> list[Frame]:
    client = ClientProtocol(parse_uri("ws://localhost/"), state=OPEN, max_size=None)
    client.receive_data(data)
    return [event for event in client.events_received() if isinstance(event, Frame)]


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, PIECE])
@pytest.mark.parametrize("opcode", [TEXT, BINARY])
def test_a_frame_of_any_size_is_read_as_it_was_written(opcode: int, size: int) -> None:
    payload = b"x" * size
    assert read(frame(opcode, payload, is_last=True)) == [Frame(Opcode(opcode), payload)]


def test_a_message_in_pieces_ends_with_its_last_frame() -> None:
    pieces = (
        frame(TEXT, b"one ", is_last=False)
        + frame(CONTINUATION, b"two ", is_last=False)
        + frame(CONTINUATION, b"three", is_last=True)
    )
    assert [(piece.data, piece.fin) for piece in read(pieces)] == [
        (b"one ", False),
        (b"two ", False),
        (b"three", True),
    ]
