"""`manage.py fetch_model`, with a hub on loopback."""

import fcntl
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from django.core.management import CommandError, call_command
from pytest_django import Settings

from agenticfleet import fetching
from agenticfleet.fetching import MODELS, KnownModel
from tests.fleet.gguf_files import write_gguf
from tests.loopback import LoopbackServer

REVISION = "0123456789abcdef"
PATH = f"/someone/good/resolve/{REVISION}/good.gguf"


class Hub:
    """A hub with one file. It sends at most `most` bytes of it per request, then hangs up."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.most = len(content)
        self.status = 200
        self.knows_ranges = True
        self.tells_size = True
        self.ranges: list[str] = []
        self._server = LoopbackServer("/unused", self.answer, others=self.answer)

    @property
    def address(self) -> str:
        return self._server.address

    async def answer(self, request: web.Request) -> web.StreamResponse:
        if request.path == PATH:  # The hub sends to its storage.
            raise web.HTTPFound(f"/storage/{request.match_info.get('tail', '')}")
        if not request.path.startswith("/storage/"):
            return web.Response(status=404)
        if self.status != 200:
            return web.Response(status=self.status)
        asked = request.headers.get("Range", "")
        self.ranges.append(asked)
        begin = int(asked.removeprefix("bytes=").rstrip("-")) if asked and self.knows_ranges else 0
        if begin >= len(self.content):
            return web.Response(status=416)
        size = len(self.content)
        response = web.StreamResponse(status=206 if begin else 200)
        if self.tells_size:
            response.headers["Content-Length"] = str(size - begin)
        if begin:
            response.headers["Content-Range"] = f"bytes {begin}-{size - 1}/{size}"
        await response.prepare(request)
        await response.write(self.content[begin : begin + self.most])
        if begin + self.most < size:
            assert request.transport
            request.transport.close()
        return response

    def stop(self) -> None:
        self._server.stop()


@pytest.fixture
def hub(tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    content = write_gguf(tmp_path / "good.gguf").read_bytes()
    hub = Hub(content)
    settings.HF_ENDPOINT = hub.address
    settings.FLEET_STATE_DIR = tmp_path / "state"
    (tmp_path / "state").mkdir()
    good = KnownModel(
        repository="someone/good",
        revision=REVISION,
        file="good.gguf",
        sha256=hashlib.sha256(content).hexdigest(),
        size=len(content),
        memory=0.001,
    )
    monkeypatch.setitem(MODELS, "medium", good)
    monkeypatch.setattr(fetching, "DISK_RESERVE", 0)
    yield hub
    hub.stop()


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "state/models/good.gguf"


def refusal(*arguments: str) -> str:
    with pytest.raises(CommandError) as caught:
        call_command("fetch_model", *arguments)
    return str(caught.value)


def part_of(target: Path) -> Path:
    return target.with_name(f"{target.name}.part")


def test_model_is_fetched_with_its_size_and_licence(
    hub: Hub, target: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    call_command("fetch_model")
    assert target.read_bytes() == hub.content
    assert not part_of(target).exists()
    said = capsys.readouterr().out
    assert "licence Apache-2.0" in said
    assert "the checksum is right" in said
    assert "`manage.py fleet` uses it" in said
    call_command("fetch_model")
    assert "is there already" in capsys.readouterr().out
    assert len(hub.ranges) == 1


def test_download_that_is_cut_again_and_again_goes_on_where_it_was(hub: Hub, target: Path) -> None:
    hub.most = len(hub.content) // 3
    call_command("fetch_model")
    assert target.read_bytes() == hub.content
    assert hub.ranges == ["", f"bytes={hub.most}-", f"bytes={2 * hub.most}-"] + (
        [f"bytes={3 * hub.most}-"] if len(hub.content) % 3 else []
    )


def test_next_call_goes_on_with_what_the_last_one_has_left(hub: Hub, target: Path) -> None:
    target.parent.mkdir()
    part_of(target).write_bytes(hub.content[:100])
    call_command("fetch_model")
    assert target.read_bytes() == hub.content
    assert hub.ranges == ["bytes=100-"]


def test_server_without_ranges_sends_all_again(hub: Hub, target: Path) -> None:
    hub.knows_ranges = False
    target.parent.mkdir()
    part_of(target).write_bytes(b"x" * 100)
    call_command("fetch_model")
    assert target.read_bytes() == hub.content


def test_file_with_another_checksum_is_removed(hub: Hub, target: Path) -> None:
    hub.content = hub.content[:-1] + b"!"
    assert "another checksum" in refusal()
    assert list(target.parent.iterdir()) == []


def test_hub_that_gives_nothing_keeps_what_is_there(hub: Hub, target: Path) -> None:
    hub.status = 503
    target.parent.mkdir()
    part_of(target).write_bytes(hub.content[:100])
    assert "the same command goes on" in refusal()
    assert part_of(target).read_bytes() == hub.content[:100]


@pytest.mark.parametrize(("status", "words"), [(403, "to everybody"), (404, "no such file")])
def test_file_that_the_hub_does_not_give_is_said(hub: Hub, status: int, words: str) -> None:
    hub.status = status
    assert words in refusal()


def test_full_disk_is_said_before_anything_is_written(
    hub: Hub, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetching, "DISK_RESERVE", 10**18)
    assert "GB more, and" in refusal()
    assert part_of(target).stat().st_size == 0


def test_server_that_sends_without_end_does_not_fill_the_disk(
    hub: Hub, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def require_space(folder: Path, size: int) -> None:
        if size and part_of(target).stat().st_size:
            raise fetching.FetchError("full")

    hub.content *= 100_000
    hub.most = len(hub.content)
    hub.tells_size = False
    monkeypatch.setattr(fetching, "require_space", require_space)
    assert refusal() == "full"
    assert part_of(target).stat().st_size < len(hub.content) / 2


def test_file_that_cannot_be_written_is_said(hub: Hub, target: Path) -> None:
    name = "x" * 300 + ".gguf"
    words = refusal("--file", f"{hub.address}/storage/{name}", "--sha256", "0" * 64)
    assert "can't be written" in words
    assert not hub.ranges


def test_second_fetch_at_the_same_time_is_refused(hub: Hub, target: Path) -> None:
    target.parent.mkdir()
    with part_of(target).open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert refusal() == "Another process is fetching good.gguf."


def test_any_other_file_is_fetched_with_its_checksum(hub: Hub, target: Path) -> None:
    url = f"{hub.address}/storage/mine.gguf?download=true"
    digest = hashlib.sha256(hub.content).hexdigest()
    call_command("fetch_model", "--file", url, "--sha256", digest.upper())
    assert target.with_name("mine.gguf").read_bytes() == hub.content


def test_fetched_file_that_cannot_chat_is_said(
    hub: Hub, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hub.content = write_gguf(tmp_path / "bare.gguf", {"general.architecture": "x"}).read_bytes()
    digest = hashlib.sha256(hub.content).hexdigest()
    hub.most = len(hub.content)
    call_command("fetch_model", "--file", f"{hub.address}/storage/x.gguf", "--sha256", digest)
    assert "no chat template" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        ["--file", "https://x.example/m.gguf"],
        ["--sha256", "0" * 64],
        ["--file", "https://x.example/m.gguf", "--sha256", "123"],
        ["--file", "https://x.example/m.zip", "--sha256", "0" * 64],
        ["--file", "https://x.example/", "--sha256", "0" * 64],
        ["--file", "ftp://x.example/m.gguf", "--sha256", "0" * 64],
        ["--small", "--large"],
    ],
)
def test_wrong_arguments_are_refused(tmp_path: Path, settings: Settings, arguments: Any) -> None:
    settings.FLEET_STATE_DIR = tmp_path
    assert refusal(*arguments)


def test_table_pins_each_file() -> None:
    for model in MODELS.values():
        assert len(bytes.fromhex(model.revision)) == 20
        assert len(bytes.fromhex(model.sha256)) == 32
