"""A DNS server on loopback that knows one name, as that of a container network knows services."""

import socketserver
import struct
import threading
from typing import Any

A = 1  # the type of a record with an IPv4 address
ANSWER = 0x8580  # flags: an authoritative answer without an error
NAME_ABOVE = 0xC00C  # the name of the question
TTL = 0


class Names:
    """Answers every question for `name` with the addresses of the moment, others with none."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.addresses: list[str] = []
        names = self

        class Asked(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                data, socket = self.request
                socket.sendto(names.answer(data), self.client_address)

        self._server: Any = socketserver.ThreadingUDPServer(("127.0.0.1", 0), Asked)
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def answer(self, query: bytes) -> bytes:
        end = query.index(b"\0", 12) + 5  # of the question: name, type, class
        labels, kind = query[12 : end - 4], struct.unpack("!H", query[end - 4 : end - 2])[0]
        is_known = labels == bytes([len(self.name)]) + self.name.encode() + b"\0"
        found = self.addresses if is_known and kind == A else []
        records = b"".join(
            struct.pack("!HHHIH", NAME_ABOVE, A, 1, TTL, 4) + bytes(map(int, address.split(".")))
            for address in found
        )
        return query[:2] + struct.pack("!5H", ANSWER, 1, len(found), 0, 0) + query[12:end] + records

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
