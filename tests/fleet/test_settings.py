"""Settings: each is documented, and a wrong one stops the start in one line."""

import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured

from agenticfleet.settings import env_hosts, env_origins, env_url

ROOT = Path(__file__).parent.parent.parent


def read_names() -> set[str]:
    return set(
        re.findall(
            r'\benv(?:_\w+)?\(\s*"([A-Z_]+)"', (ROOT / "agenticfleet/settings.py").read_text()
        )
    )


def documented_names(document: str) -> set[str]:
    """Return the names in the table of a document's section "Settings"."""
    table = (ROOT / document).read_text().split("\n## Settings\n")[1].split("\n## ")[0]
    return set(re.findall(r"^\| `([A-Z_]+)` \|", table, re.MULTILINE))


def test_agents_lists_every_setting_and_no_other() -> None:
    assert documented_names("AGENTS.md") == read_names()


def test_the_readme_lists_a_few_settings_that_exist() -> None:
    assert "FLEET_MODEL" in documented_names("README.md")
    assert documented_names("README.md") < read_names()


def test_the_environment_is_read_in_settings_only() -> None:
    readers = [
        str(path.relative_to(ROOT))
        for folder in ("agenticfleet", "chat", "tooling")
        for path in (ROOT / folder).rglob("*.py")
        if re.search(r"os\.getenv|os\.environ\b(?!\.setdefault|,|})", path.read_text())
    ]
    assert readers == ["agenticfleet/settings.py"]


def start(folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "manage.py", "check"]
    everything = {**os.environ, "FLEET_STATE_DIR": str(folder), **environment}
    return subprocess.run(
        command, cwd=ROOT, env=everything, capture_output=True, text=True, timeout=30
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("FLEET_HEARTBEAT", "abc"),
        ("FLEET_HEARTBEAT", "-1"),
        ("FLEET_MAX_RUNS_PER_OWNER", "0"),
        ("FLEET_MAX_RUNS_PER_OWNER", "1.5"),
        ("FLEET_AUTH", "maybe"),
        ("DJANGO_DEBUG", "perhaps"),
        ("REDIS_URL", "http://127.0.0.1"),
        ("REDIS_URL", "redis://:secret@/0"),
        ("OPENAI_BASE_URL", "127.0.0.1:8000"),
        ("OPENAI_BASE_URL", "http://h:abc/v1"),
        ("FLEET_CONTEXT_TOKENS", "900"),
        ("DJANGO_CSRF_TRUSTED_ORIGINS", "chat.example"),
        ("TAVILY_BASE_URL", "ftp://search"),
        ("FLEET_SEARCH", "on"),
        ("FLEET_SEARCH", "perhaps"),
        ("FLEET_CACHE_TTL_NEWS", "0"),
        ("FLEET_TIME_ZONE", "Mars/Olympus"),
        ("DATABASE_URL", "nonsense://x"),
        ("DATABASE_URL", "sqlite://"),
        ("DATABASE_URL", "mysql://u:secret@h/x"),
        ("DATABASE_URL", "postgres:/x"),
        ("OPENAI_API_KEY", "sk-secret…"),
        ("TAVILY_API_KEY", "tvly secret"),
        ("DJANGO_ALLOWED_HOSTS", "chat.example:8000"),
    ],
)
def test_a_wrong_setting_stops_the_start_in_one_line(tmp_path: Path, name: str, value: str) -> None:
    result = start(tmp_path, **{"OPENAI_API_KEY": "k", "FLEET_MODEL": "m", name: value})
    assert result.returncode == 1
    assert result.stdout == ""
    assert name in result.stderr
    assert result.stderr.count("\n") == 1
    assert "secret" not in result.stderr


def test_a_model_that_nobody_serves_is_refused(tmp_path: Path) -> None:
    assert start(tmp_path, FLEET_MODEL="gpt-5-mini").stderr.startswith(
        "Wrong setting: FLEET_MODEL needs OPENAI_API_KEY or"
    )


@pytest.mark.skipif(find_spec("psycopg") is not None, reason="the driver is there")
def test_a_database_without_its_driver_is_refused(tmp_path: Path) -> None:
    words = "Wrong setting: DATABASE_URL needs the PostgreSQL driver: uv sync --extra postgresql\n"
    assert start(tmp_path, DATABASE_URL="postgresql://h/x").stderr == words


@pytest.mark.parametrize(
    ("model", "room"),
    [("gpt-5-mini", 4000), ("openai/o4-mini", 4000), ("gpt-4.1", 0), ("llama3.2", 0)],
)
def test_models_that_are_known_to_think_get_room_for_it(
    tmp_path: Path, model: str, room: int
) -> None:
    environment = {
        **os.environ,
        "FLEET_STATE_DIR": str(tmp_path),
        "OPENAI_API_KEY": "k",
        "FLEET_MODEL": model,
    }
    command = [
        sys.executable,
        "-c",
        "from agenticfleet import settings; print(settings.FLEET_THINKING_TOKENS)",
    ]
    assert (
        subprocess.check_output(command, cwd=ROOT, env=environment, text=True, timeout=30)
        == f"{room}\n"
    )


@pytest.mark.parametrize(
    "url",
    [
        "redis://h:abc/0",
        "redis://h:70000/0",
        "redis://[::1/0",
        "redis:///0",
        "unix://host",
        "redis:h",
        "http://h",
    ],
)
def test_a_url_without_a_place_is_refused(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("REDIS_URL", url)
    with pytest.raises(ImproperlyConfigured, match="REDIS_URL must"):
        env_url("REDIS_URL", ("redis", "rediss", "unix"))


@pytest.mark.parametrize(
    "url",
    ["redis://:password@redis:6379/0", "rediss://[::1]:6380", "unix:///run/valkey.sock?db=1", ""],
)
def test_a_url_with_a_place_is_taken(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("REDIS_URL", url)
    assert env_url("REDIS_URL", ("redis", "rediss", "unix")) == url


@pytest.mark.parametrize(
    "origin", ["chat.example", "http://", "https://chat.example/", "://chat.example"]
)
def test_an_origin_that_no_browser_sends_is_refused(
    monkeypatch: pytest.MonkeyPatch, origin: str
) -> None:
    monkeypatch.setenv("DJANGO_CSRF_TRUSTED_ORIGINS", f"https://good.example,{origin}")
    with pytest.raises(ImproperlyConfigured, match=f"not '{origin}'"):
        env_origins("DJANGO_CSRF_TRUSTED_ORIGINS")


def test_origins_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    origins = [
        "https://chat.example",
        "https://*.example.org:8443",
        "http://[::1]:8000",
        "chrome-extension://abc",
    ]
    monkeypatch.setenv("DJANGO_CSRF_TRUSTED_ORIGINS", ", ".join(origins))
    assert env_origins("DJANGO_CSRF_TRUSTED_ORIGINS") == origins


@pytest.mark.parametrize(
    "host", ["http://chat.example", "chat.example:8000", "[::1]:8000", "a b", "chat.example/", ","]
)
def test_a_host_that_no_browser_names_is_refused(
    monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    monkeypatch.setenv("DJANGO_ALLOWED_HOSTS", host)
    with pytest.raises(ImproperlyConfigured, match="DJANGO_ALLOWED_HOSTS must hold host names"):
        env_hosts("DJANGO_ALLOWED_HOSTS", "localhost")


def test_hosts_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    hosts = ["chat.example", ".example.org", "*", "127.0.0.1", "[::1]", "Chat_1.example"]
    monkeypatch.setenv("DJANGO_ALLOWED_HOSTS", ", ".join(hosts))
    assert env_hosts("DJANGO_ALLOWED_HOSTS", "localhost") == hosts
