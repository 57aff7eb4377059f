"""Settings: each is documented, and a wrong one stops the start in one line."""

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured

from agenticfleet.environment import Environment, without_secrets
from chat.deadlines import Deadlines, PathLevels, ServiceLevels
from routing.caps import Caps, Sampling
from tests.serving import LOOKS_FOR_FILES, OWN_SETTINGS

ROOT = Path(__file__).parent.parent.parent


MAX_SETTINGS = 67
INTERNAL = {
    "FLEET_MODEL_IS_STAND_IN",
    "FLEET_MODEL_SERVER",
    "FLEET_SERVES_MODEL",
    "FLEET_IS_LOCAL",
    "FLEET_WORKER_NUMBER",
    "FLEET_ID",
}  # set for workers


def read_names() -> set[str]:
    source = (ROOT / "agenticfleet/settings.py").read_text()
    reads = re.findall(r'\benv\.(\w+)\(\s*"([A-Z_]+)"', source)
    return {name for method, name in reads if not method.startswith("reject")} - INTERNAL


def documented_names(document: str) -> set[str]:
    """Return the names in the table of a document's section "Settings"."""
    table = (ROOT / document).read_text().split("\n## Settings\n")[1].split("\n## ")[0]
    return set(re.findall(r"^\| `([A-Z_]+)` \|", table, re.MULTILINE))


def test_agents_lists_every_setting_and_no_other() -> None:
    assert documented_names("AGENTS.md") == read_names()


def test_settings_are_few_enough_to_choose_from() -> None:
    own = {name for name in read_names() if name.startswith(("FLEET_", "DJANGO_"))}
    assert len(own) <= MAX_SETTINGS


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


def manage(
    *arguments: str, cwd: Path = ROOT, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run `manage.py` with these settings and no others."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(OWN_SETTINGS)}
    return subprocess.run(
        [sys.executable, ROOT / "manage.py", *arguments],
        cwd=cwd,
        env={**clean, **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )


def start(folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return manage("check", **{"FLEET_STATE_DIR": str(folder), **environment})


@pytest.mark.parametrize("command", [["fleet"], ["fleet-worker", "--fd", "0"], ["ask", "Hello?"]])
def test_no_command_answers_if_the_tool_to_approve_does_not_exist(
    command: list[str], tmp_path: Path
) -> None:
    environment = {"FLEET_STATE_DIR": str(tmp_path), "FLEET_APPROVE": "web_serach"}
    refused = manage(*command, **environment)
    assert refused.returncode == 1
    assert "FLEET_APPROVE names the tool 'web_serach', which does not exist." in refused.stderr
    assert "Traceback" not in refused.stderr


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("FLEET_HEARTBEAT", "abc"),
        ("FLEET_HEARTBEAT", "-1"),
        ("FLEET_LIMIT_RUNS", "3,6"),
        ("FLEET_LIMIT_RUNS", "3,6,many"),
        ("FLEET_AUTH", "maybe"),
        ("FLEET_LOG_FORMAT", "xml"),
        ("FLEET_METRICS_TOKEN", "secret token"),
        ("DJANGO_DEBUG", "perhaps"),
        ("REDIS_URL", "http://:secret@127.0.0.1"),
        ("REDIS_URL", "secret"),
        ("REDIS_URL", "redis://:secret@/0"),
        ("OPENAI_BASE_URL", "127.0.0.1:8000"),
        ("OPENAI_BASE_URL", "http://h:abc/v1"),
        ("OPENAI_DEFAULT_HEADERS", "X-Team: secret"),
        ("OPENAI_DEFAULT_HEADERS", '{"X-Team": 7}'),
        ("OPENAI_DEFAULT_HEADERS", '{"X Team": "secret"}'),
        ("OPENAI_DEFAULT_HEADERS", '{"X-Team": "secret\\nX-Other: 1"}'),
        ("SSL_CERT_FILE", "/nowhere/ca.pem"),
        ("OPENAI_BASE_URL", "http://a..b/v1"),
        ("HTTPS_PROXY", "ftp://secret@proxy"),
        ("HTTP_PROXY", "http://secret@proxy:abc"),
        ("ALL_PROXY", "proxy:abc"),
        ("HTTP_PROXY", "http://"),
        ("FLEET_CONTEXT_TOKENS", "900"),
        ("DJANGO_CSRF_TRUSTED_ORIGINS", "chat.example"),
        ("TAVILY_BASE_URL", "ftp://search"),
        ("FLEET_SEARCH", "on"),
        ("FLEET_SEARCH", "perhaps"),
        ("FLEET_SEARCH", "ftp://ann:secret@searx.example"),
        ("FLEET_SEARCH", "http://"),
        ("FLEET_READ_PAGES", "perhaps"),
        ("FLEET_CACHE_TTL", "0"),
        ("FLEET_SLA_LIGHT", "0.25,2"),
        ("FLEET_SLA_FULL", "0.25,2,soon"),
        ("FLEET_SLA_STEPS", "0.25,nan"),
        ("FLEET_LIGHT_THRESHOLD", "1.5"),
        ("FLEET_COMPARE", "0.02"),
        ("FLEET_COMPARE", "2,1000"),
        ("FLEET_COMPARE", "0.02,-1"),
        ("FLEET_HEARBEAT", "5"),
        ("FLEET_TIME_ZONE", "Mars/Olympus"),
        ("DATABASE_URL", "nonsense://x"),
        ("DATABASE_URL", "sqlite://"),
        ("DATABASE_URL", "mysql://u:secret@h/x"),
        ("DATABASE_URL", "postgres:/x"),
        ("DATABASE_URL", "postgresql://u:secret/x@h/x"),
        ("OPENAI_API_KEY", "sk-secret…"),
        ("TAVILY_API_KEY", "tvly secret"),
        ("DJANGO_ALLOWED_HOSTS", "chat.example:8000"),
        ("FLEET_PUBLIC_URL", "chat.example"),
        ("FLEET_PUBLIC_URL", "https://ann:secret@chat.example"),
        ("FLEET_PUBLIC_URL", "https://chat.example/secret?"),
        ("FLEET_PUBLIC_URL", "https://*.chat.example"),
        ("FLEET_TRUSTED_PROXIES", "10.0.0.1, nginx"),
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


@pytest.mark.parametrize("hosts", ["*", "localhost,.chat.example"])
def test_links_in_emails_lead_to_no_host_that_a_stranger_has_named(
    tmp_path: Path, hosts: str
) -> None:
    sends = {"EMAIL_URL": "smtp://mail.example", "DJANGO_ALLOWED_HOSTS": hosts}
    refusal = "Wrong setting: EMAIL_URL needs FLEET_PUBLIC_URL"
    assert start(tmp_path, **sends).stderr.startswith(refusal)
    site = {"FLEET_PUBLIC_URL": "https://chat.example"}
    assert built(tmp_path, "FLEET_SENDS_MAIL", **sends, **site) == ["True"]


@pytest.mark.skipif(find_spec("psycopg") is not None, reason="the driver is there")
def test_a_database_without_its_driver_is_refused(tmp_path: Path) -> None:
    words = "Wrong setting: DATABASE_URL needs the PostgreSQL driver: uv sync --extra postgresql\n"
    assert start(tmp_path, DATABASE_URL="postgresql://h/x").stderr == words


def test_room_for_thinking_depends_on_the_model_unless_it_is_set(tmp_path: Path) -> None:
    assert built(tmp_path, "FLEET_THINKING_TOKENS") == ["None"]
    assert built(tmp_path, "FLEET_THINKING_TOKENS", FLEET_THINKING_TOKENS="0") == ["0"]


@pytest.mark.parametrize(
    ("written", "models"),
    [
        ("b, a=The best one,org/c:7b = C ", {"b": "", "a": "The best one", "org/c:7b": "C"}),
        (" , ", {}),
        ("a=b=c", {"a": "b=c"}),
    ],
)
def test_models_to_choose_from_keep_their_order_and_names(
    tmp_path: Path, written: str, models: dict[str, str]
) -> None:
    assert built(tmp_path, "FLEET_MODELS", FLEET_MODELS=written) == [f"{models}"]


def built(folder: Path, *names: str, cwd: Path = ROOT, **environment: str) -> list[str]:
    """Return the texts of these values of `settings.py` under this environment."""
    code = f"from agenticfleet import settings as s; print(*map(vars(s).get, {names}), sep='\\n')"
    own = {"PYTHONPATH": str(ROOT), "FLEET_STATE_DIR": str(folder)}
    return subprocess.check_output(
        [sys.executable, "-c", code],
        cwd=cwd,
        env={**os.environ, **own, **environment},
        text=True,
        timeout=30,
    ).splitlines()


def test_limits_are_built_of_their_settings(tmp_path: Path) -> None:
    environment = {
        "FLEET_MAX_OUTPUT_TOKENS": "20",
        "FLEET_LIGHT_MAX_SUPERSTEPS": "4",
        "FLEET_LIGHT_MAX_TOOL_CALLS": "3",
        "FLEET_FULL_MAX_SUPERSTEPS": "5",
        "FLEET_FULL_MAX_TOOL_CALLS": "6",
        "FLEET_FIRST_CHUNK_TIMEOUT": "7",
        "FLEET_IDLE_TIMEOUT": "8",
        "FLEET_MAX_RUNTIME": "90",
        "FLEET_SLA_LIGHT": "0.1, 1, 10",
        "FLEET_SLA_FULL": "0.2, 2, 20",
        "FLEET_SLA_STEPS": "0.3, 3",
        "FLEET_COMPARE": "0.02, 1000",
    }
    limits = {
        "FLEET_LIGHT_CAPS": Caps(supersteps=4, tool_calls=3, fan_out=1, tokens=20, seconds=90.0),
        "FLEET_FULL_CAPS": Caps(supersteps=5, tool_calls=6, fan_out=3, tokens=12_000, seconds=60.0),
        "FLEET_DEADLINES": Deadlines(first_chunk=7.0, chunk=4.0, idle=8.0, runtime=90.0),
        "FLEET_SERVICE_LEVELS": ServiceLevels(
            PathLevels(0.1, 1.0, 10.0), PathLevels(0.2, 2.0, 20.0), cancel=0.3, tool=3.0
        ),
        "FLEET_COMPARE": Sampling(share=0.02, tokens=1000),
    }
    assert built(tmp_path, *limits, **environment) == list(map(str, limits.values()))


def environment_with(name: str, value: str) -> Environment:
    return Environment({name: value})


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
def test_a_url_without_a_place_is_refused(url: str) -> None:
    with pytest.raises(ImproperlyConfigured, match="REDIS_URL must"):
        environment_with("REDIS_URL", url).url("REDIS_URL", ("redis", "rediss", "unix"))


@pytest.mark.parametrize(
    "url",
    ["redis://:password@redis:6379/0", "rediss://[::1]:6380", "unix:///run/valkey.sock?db=1", ""],
)
def test_a_url_with_a_place_is_taken(url: str) -> None:
    env = environment_with("REDIS_URL", url)
    assert env.url("REDIS_URL", ("redis", "rediss", "unix")) == url


@pytest.mark.parametrize(
    "origin", ["chat.example", "http://", "https://chat.example/", "://chat.example"]
)
def test_an_origin_that_no_browser_sends_is_refused(origin: str) -> None:
    env = environment_with("DJANGO_CSRF_TRUSTED_ORIGINS", f"https://good.example,{origin}")
    with pytest.raises(ImproperlyConfigured, match=f"not '{origin}'"):
        env.origins("DJANGO_CSRF_TRUSTED_ORIGINS")


def test_origins_are_taken() -> None:
    origins = [
        "https://chat.example",
        "https://*.example.org:8443",
        "http://[::1]:8000",
        "chrome-extension://abc",
    ]
    env = environment_with("DJANGO_CSRF_TRUSTED_ORIGINS", ", ".join(origins))
    assert env.origins("DJANGO_CSRF_TRUSTED_ORIGINS") == origins


@pytest.mark.parametrize(
    "host", ["http://chat.example", "chat.example:8000", "[::1]:8000", "a b", "chat.example/", ","]
)
def test_a_host_that_no_browser_names_is_refused(host: str) -> None:
    env = environment_with("DJANGO_ALLOWED_HOSTS", host)
    with pytest.raises(ImproperlyConfigured, match="DJANGO_ALLOWED_HOSTS must hold host names"):
        env.hosts("DJANGO_ALLOWED_HOSTS", "localhost")


def test_hosts_are_taken() -> None:
    hosts = ["chat.example", ".example.org", "*", "127.0.0.1", "[::1]", "Chat_1.example"]
    env = environment_with("DJANGO_ALLOWED_HOSTS", ", ".join(hosts))
    assert env.hosts("DJANGO_ALLOWED_HOSTS", "localhost") == hosts


# --- A site for others ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "origin", "host"),
    [
        ("https://chat.example", "https://chat.example", "chat.example"),
        ("HTTPS://Chat.Example:443/", "https://chat.example", "chat.example"),
        ("https://chat.example:8443", "https://chat.example:8443", "chat.example"),
        ("http://[::1]:80", "http://[::1]", "[::1]"),
        ("http://bücher.example", "http://xn--bcher-kva.example", "xn--bcher-kva.example"),
    ],
)
def test_address_of_the_site_is_a_host_and_an_origin_as_browsers_send_them(
    tmp_path: Path, url: str, origin: str, host: str
) -> None:
    names = ("FLEET_PUBLIC_URL", "ALLOWED_HOSTS", "CSRF_TRUSTED_ORIGINS")
    hosts, origins = ["own.example", host], ["https://own.example", origin]
    environment = {
        "FLEET_PUBLIC_URL": url,
        "DJANGO_ALLOWED_HOSTS": "own.example",
        "DJANGO_CSRF_TRUSTED_ORIGINS": "https://own.example",
    }
    assert built(tmp_path, *names, **environment) == [origin, str(hosts), str(origins)]


def test_one_setting_makes_a_site_with_https_ready_for_the_network(tmp_path: Path) -> None:
    def checked(url: str) -> tuple[int, str]:
        environment = {"FLEET_STATE_DIR": str(tmp_path), "FLEET_PUBLIC_URL": url}
        ran = manage("check", "--deploy", "--fail-level", "WARNING", **environment)
        return ran.returncode, ran.stderr

    assert checked("https://chat.example") == (0, "")
    assert checked("https://host.example/fleet/") == (0, "")
    code, complaint = checked("http://chat.example")
    assert code == 1
    assert "SECURE_HSTS_SECONDS" in complaint


def test_sites_of_one_host_with_one_key_share_no_cookies(tmp_path: Path) -> None:
    names = ("SESSION_COOKIE_NAME", "SESSION_COOKIE_PATH", "STATIC_URL", "CSRF_TRUSTED_ORIGINS")
    found = [
        built(tmp_path, *names, FLEET_PUBLIC_URL=f"https://host.example{path}")
        for path in ("", "/a", "/b/")
    ]
    assert [each[1:] for each in found] == [
        ["None", "/static/", "['https://host.example']"],
        ["/a", "/a/static/", "['https://host.example']"],
        ["/b", "/b/static/", "['https://host.example']"],
    ]
    assert len({cookie for cookie, *_ in found}) == 3


# --- Unknown names --------------------------------------------------------------------------------


def test_an_unknown_setting_is_refused_with_the_nearest_known_one(tmp_path: Path) -> None:
    assert start(tmp_path, FLEET_HEARBEAT="5").stderr == (
        "Wrong setting: FLEET_HEARBEAT is not a setting; did you mean FLEET_HEARTBEAT?\n"
    )


def test_a_blank_unknown_setting_is_ignored() -> None:
    env = Environment({"FLEET_HEARBEAT": " ", "FLEET_HEARTBEAT": "5"})
    env.number("FLEET_HEARTBEAT", 1)
    env.reject_unknown("FLEET_")


# --- .env files -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Place:
    """A working folder and a state folder, each with its `.env`."""

    working: Path
    state: Path

    def write(self, *, working: str = "", state: str = "") -> None:
        (self.working / ".env").write_text(working)
        (self.state / ".env").write_text(state)

    def manage(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return manage(*arguments, cwd=self.working, **LOOKS_FOR_FILES, **environment)

    def in_effect(self, **environment: str) -> dict[str, tuple[str, str]]:
        """Return value and source by name, as `--print-settings` shows them."""
        ran = self.manage("fleet", "--print-settings", **environment)
        assert ran.returncode == 0, ran.stderr
        rows = [re.split(r"\s{2,}", line) for line in ran.stdout.splitlines()]
        return {name: (value, source) for name, value, source in rows}


@pytest.fixture
def place(tmp_path: Path) -> Place:
    place = Place(tmp_path / "working", tmp_path / "state")
    place.working.mkdir()
    place.state.mkdir()
    return place


def test_the_environment_beats_the_working_folder_which_beats_the_state_folder(
    place: Place,
) -> None:
    place.write(
        working=f"FLEET_STATE_DIR={place.state}\nFLEET_HEARTBEAT=2\nFLEET_LEASE_TTL=2\n",
        state="FLEET_HEARTBEAT=3\nFLEET_LEASE_TTL=3\nFLEET_LIGHT_MODE=off\nOTHER=1\n",
    )
    found = place.in_effect(FLEET_HEARTBEAT="1")
    assert found["FLEET_STATE_DIR"] == (str(place.state), f"{place.working}/.env")
    assert found["FLEET_HEARTBEAT"] == ("1", "environment")
    assert found["FLEET_LEASE_TTL"] == ("2", f"{place.working}/.env")
    assert found["FLEET_LIGHT_MODE"] == ("off", f"{place.state}/.env")
    assert found["FLEET_AUTH"] == ("anonymous", "default")
    assert set(found) == read_names()


def test_a_blank_variable_does_not_hide_a_file(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("FLEET_HEARTBEAT=3\n")
    env = environment_with("FLEET_HEARTBEAT", "")
    env.add_file(tmp_path / ".env")
    assert env.number("FLEET_HEARTBEAT", 5) == 3


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("FLEET_HEARTBEAT=x", "FLEET_HEARTBEAT in {file} must be a number, not 'x'."),
        (
            "FLEET_HEARBEAT=5",
            "FLEET_HEARBEAT in {file} is not a setting; did you mean FLEET_HEARTBEAT?",
        ),
        ("FLEET_HEARTBEAT='5", "{file}: line 1 must be NAME=value."),
    ],
)
def test_a_wrong_line_in_a_file_is_named_with_the_file(
    place: Place, line: str, problem: str
) -> None:
    place.write(state=line)
    ran = place.manage("check", FLEET_STATE_DIR=str(place.state))
    assert ran.stderr == f"Wrong setting: {problem.format(file=place.state / '.env')}\n"


def test_a_file_that_is_not_text_is_named(place: Place) -> None:
    (place.state / ".env").write_bytes(b"FLEET_MODEL=\xff\n")
    ran = place.manage("check", FLEET_STATE_DIR=str(place.state))
    assert ran.stderr == f"Wrong setting: {place.state}/.env: must be in UTF-8.\n"


@pytest.mark.parametrize("switch", ["PYTEST_VERSION", "PYTHON_DOTENV_DISABLED"])
def test_tests_read_no_files(place: Place, switch: str) -> None:
    place.write(working="FLEET_HEARTBEAT=2", state="FLEET_HEARTBEAT=2")

    def heartbeat(**switches: str) -> list[str]:
        return built(
            place.state, "FLEET_HEARTBEAT", cwd=place.working, **LOOKS_FOR_FILES | switches
        )

    assert heartbeat() == ["2.0"]
    assert heartbeat(**{switch: "1"}) == ["5.0"]


def test_manage_py_test_reads_no_files(place: Place) -> None:
    place.write(working="FLEET_HEARTBEAT=x", state="FLEET_HEARTBEAT=x")
    ran = place.manage("test", "--help", FLEET_STATE_DIR=str(place.state))
    assert ran.returncode == 0, ran.stderr


# --- What is in effect ----------------------------------------------------------------------------


def test_settings_that_are_shown_hide_secrets(tmp_path: Path) -> None:
    secrets = {
        "DJANGO_SECRET_KEY": "secret-1",
        "OPENAI_API_KEY": "secret-2",
        "TAVILY_API_KEY": "secret-3",
        "OPENAI_BASE_URL": "https://secret-4:secret-5@models.example/v1?key=secret-6",
        "FLEET_MODEL": "m",
        "REDIS_URL": "redis://:secret-7@redis:6379/0",
        "DATABASE_URL": f"sqlite:///{tmp_path}/x.sqlite3?password=secret-8",
    }
    [shown] = built(tmp_path, "SETTINGS_READ", **secrets)
    assert "secret-" not in shown
    assert "name='OPENAI_API_KEY', value='(hidden)', source='environment'" in shown
    assert "name='OPENAI_BASE_URL', value='https://models.example/v1'" in shown
    assert "name='REDIS_URL', value='redis://redis:6379/0'" in shown


def test_search_may_be_a_searxng_of_the_operators_own(tmp_path: Path) -> None:
    url = "http://ann:secret@searx.internal:8888/path"
    assert built(tmp_path, "FLEET_SEARCH", "SEARXNG_URL", FLEET_SEARCH=url) == ["searxng", url]
    [shown] = built(tmp_path, "SETTINGS_READ", FLEET_SEARCH=url)
    assert "name='FLEET_SEARCH', value='http://searx.internal:8888/path'" in shown


PLACE_LIKE = re.compile(r"_(URL|HOST|HOSTS|ORIGINS|PROXIES|PROXY|ENDPOINT|SEARCH)$")
HALF_WRITTEN = [
    "{scheme}://ann:s3cret@",
    "{scheme}://ann:s3cret",
    "{scheme}://ann:s3cret@host:port",
    "{scheme}://ann:s3cret@[::1",
    "{scheme}://ann:s3cret@host/path/",
    "{scheme}://ann:s3cret/9@host",
    "{scheme}://ann:12/s3cret@host",
    "{scheme}://ann:12#s3cret@host",
    "{scheme}://ann:s3 cret@host",
    "{scheme}//ann:s3cret@host",
    "ann:s3cret@host",
    "{scheme}://ann:s3cret@host/{{trace_id}}",
    "nonsense://ann:s3cret@host",
]
READ_ALL = """
import os, runpy, sys
from django.core.exceptions import ImproperlyConfigured
names, values = sys.argv[1].split(), sys.argv[2:]
for name in names:
    for value in values:
        for scheme in ("http", "redis", "postgresql", "smtp"):
            os.environ[name] = value.format(scheme=scheme)
            try:
                read = runpy.run_path("agenticfleet/settings.py")["SETTINGS_READ"]
                print(name, [setting for setting in read if setting.name == name])
            except ImproperlyConfigured as exc:
                print(name, exc)
    del os.environ[name]
"""


def test_neither_an_error_nor_the_list_of_settings_has_a_password_however_it_is_written(
    tmp_path: Path,
) -> None:
    names = {name for name in read_names() if PLACE_LIKE.search(name)}
    assert {"OPENAI_BASE_URL", "DATABASE_URL", "DJANGO_CSRF_TRUSTED_ORIGINS"} < names
    names |= {"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"}
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith(OWN_SETTINGS)},
        "FLEET_STATE_DIR": str(tmp_path),
        "PYTHONPATH": str(ROOT),
        "OPENAI_API_KEY": "k",
    }
    ran = subprocess.run(
        [sys.executable, "-c", READ_ALL, " ".join(sorted(names)), *HALF_WRITTEN],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert ran.returncode == 0, ran.stderr
    lines = ran.stdout.splitlines()
    assert len(lines) == len(names) * len(HALF_WRITTEN) * 4
    assert [line for line in lines if re.search("s3.?cret", line)] == []


@pytest.mark.parametrize("password", ["pa/ss", "pa#ss", "pa?ss", "pa@ss", "pa:ss"])
def test_a_password_is_hidden_however_it_is_written(password: str) -> None:
    assert without_secrets(f"redis://user:{password}@h:1/0?x=pass") == "redis://h:1/0"


FAST = '[models.fast]\nmodel = "q"\nbase_url = "http://127.0.0.1:9/v1"\n[models.own]\nmodel = "o"\n'


def test_model_of_the_file_needs_no_server_in_the_settings(tmp_path: Path) -> None:
    (tmp_path / "own.toml").write_text(FAST)
    environment = {"FLEET_CONFIG": str(tmp_path / "own.toml"), "FLEET_MODEL": "fast"}
    names = ("FLEET_MODEL", "FLEET_LIGHT_MODEL", "OPENAI_BASE_URL")
    assert built(tmp_path, *names, **environment) == ["fast", "fast", ""]


@pytest.mark.parametrize(
    ("environment", "refusal"),
    [
        ({"FLEET_MODEL": "own"}, "FLEET_MODEL needs OPENAI_API_KEY or OPENAI_BASE_URL, or must be"),
        ({"FLEET_MODEL": "fats"}, "FLEET_MODEL needs OPENAI_API_KEY or OPENAI_BASE_URL, or must"),
        ({"FLEET_MODEL": "fast", "FLEET_LIGHT_MODEL": "gpt-5"}, "FLEET_LIGHT_MODEL needs OPENAI_"),
        ({"FLEET_MODEL": "fast", "FLEET_ROUTER_MODEL": "own"}, "FLEET_ROUTER_MODEL needs OPENAI"),
    ],
)
def test_model_without_a_server_is_refused(
    tmp_path: Path, environment: dict[str, str], refusal: str
) -> None:
    (tmp_path / "own.toml").write_text(FAST)
    refused = start(tmp_path, FLEET_CONFIG=str(tmp_path / "own.toml"), **environment)
    assert refused.returncode == 1
    assert f"Wrong setting: {refusal}" in refused.stderr


def test_prices_count_for_the_names_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "own.toml").write_text(FAST)
    (tmp_path / "prices.json").write_text(
        '{"models": {"q": {"input": 1, "cached_input": 0.1, "output": 2}}}'
    )
    environment = {
        "FLEET_CONFIG": str(tmp_path / "own.toml"),
        "FLEET_MODEL": "fast",
        "FLEET_PRICES": str(tmp_path / "prices.json"),
    }
    [prices] = built(tmp_path, "FLEET_PRICES", **environment)
    assert "'fast': ModelPrice(input=1.0, output=2.0, cached_input=0.1)" in prices
