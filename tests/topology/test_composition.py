"""docker-compose.yml, `.env.example` and the Dockerfile: valid, complete, and closed."""

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from check_jsonschema.builtin_schemas import get_builtin_schema
from docker.utils import exclude_paths
from jsonschema.validators import validator_for

from .composition import (
    COMPOSE,
    COMPOSES_OWN,
    DOCKERFILE,
    EXAMPLE,
    IGNORED,
    ROOT,
    Composition,
    MissingVariable,
    example,
    image_command,
    image_environment,
    image_health_check,
    instructions,
    last,
    names_read,
)

SECRETS = {"DJANGO_SECRET_KEY": "a" * 64, "POSTGRES_PASSWORD": "b" * 64}
COMPOSITION = Composition.read(SECRETS)
SERVICES = sorted(COMPOSITION.content["services"])
STAYING = sorted(set(SERVICES) - {"migrate"})
DATA = ("postgres", "valkey")
README = (ROOT / "README.md").read_text()


def seconds(text: str) -> int:
    number, unit = re.fullmatch(r"(\d+)([sm])", text).groups()  # type: ignore[union-attr]
    return int(number) * {"s": 1, "m": 60}[unit]


# --- The Compose file


@pytest.mark.parametrize("content", [yaml.safe_load(COMPOSE.read_text()), COMPOSITION.content])
def test_compose_file_follows_the_specification(content: dict[str, Any]) -> None:
    schema = get_builtin_schema("vendor.compose-spec")
    faults = validator_for(schema)(schema).iter_errors(content)
    assert [f"{fault.json_path}: {fault.message}" for fault in faults] == []


@pytest.mark.parametrize("name", sorted(SECRETS))
def test_nothing_starts_without_a_secret(name: str) -> None:
    with pytest.raises(MissingVariable, match=name):
        Composition.read({**SECRETS, name: ""})


def test_no_secret_has_a_default() -> None:
    uses = re.findall(r"\$\{(\w+)([^}]*)", COMPOSE.read_text())
    ways = {(name, way) for name, way in uses if name in SECRETS}
    assert ways == {(name, ":?is missing in .env") for name in SECRETS}


def test_example_has_each_variable_that_is_read_and_otherwise_settings() -> None:
    settings = set(re.findall(r"^\| `(\w+)` \|", (ROOT / "AGENTS.md").read_text(), re.MULTILINE))
    assert settings > {"FLEET_MODEL"}
    named = set(example(with_comments=True))
    assert named >= names_read()
    assert named - names_read() - settings == COMPOSES_OWN


def test_example_leaves_only_secrets_empty_and_sets_no_others() -> None:
    empty = {name for name, value in example(with_comments=False).items() if not value}
    assert empty == set(SECRETS)


def test_example_shows_the_defaults() -> None:
    """So that a comment sign that is removed changes nothing."""
    shown = {name: value for name, value in example(with_comments=True).items() if value}
    with_them = Composition.read({**shown, **SECRETS}).content["services"]
    assert with_them == COMPOSITION.content["services"]


def test_command_of_the_readme_makes_different_secrets(tmp_path: Path) -> None:
    [command] = re.findall(r"^.*\.env\.example > \.env.*$", README, re.MULTILINE)
    (tmp_path / ".env.example").write_text(EXAMPLE.read_text())
    subprocess.run(["sh", "-c", command], cwd=tmp_path, check=True)
    made = tmp_path / ".env"
    assert made.stat().st_mode & 0o077 == 0
    found = re.findall(r"^(\w+)=([0-9a-f]{64})$", made.read_text(), re.MULTILINE)
    assert {name for name, _ in found} == set(SECRETS)
    assert len({secret for _, secret in found}) == len(SECRETS)


@pytest.mark.parametrize("name", SERVICES)
def test_container_has_no_more_than_it_needs(name: str) -> None:
    service = COMPOSITION.service(name)
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service.get("cap_add", []) == (["NET_BIND_SERVICE"] if name == "proxy" else [])
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert set(service["deploy"]["resources"]["limits"]) == {"cpus", "memory", "pids"}
    assert service["logging"]["options"].keys() == {"max-size", "max-file"}
    assert not service.keys() & {"container_name", "privileged", "network_mode"}


@pytest.mark.parametrize("name", STAYING)
def test_service_is_watched_and_comes_back(name: str) -> None:
    service = COMPOSITION.service(name)
    assert service["restart"] == "unless-stopped"
    assert COMPOSITION.health_check(name)


def test_only_the_proxy_is_reached_from_outside() -> None:
    assert [name for name in SERVICES if "ports" in COMPOSITION.service(name)] == ["proxy"]


@pytest.mark.parametrize("name", DATA)
def test_data_is_reached_by_fleets_alone(name: str) -> None:
    [network] = COMPOSITION.service(name)["networks"]
    assert COMPOSITION.content["networks"][network] == {"internal": True}
    others = [each for each in SERVICES if network in COMPOSITION.service(each)["networks"]]
    assert set(others) == {*DATA, "fleet", "migrate"}


def test_fleets_start_behind_the_migrations() -> None:
    needed = COMPOSITION.service("fleet")["depends_on"]
    assert needed["migrate"] == {"condition": "service_completed_successfully"}
    assert COMPOSITION.service("migrate")["restart"] == "no"


def test_fleet_has_time_to_stop() -> None:
    assert seconds(COMPOSITION.service("fleet")["stop_grace_period"]) > 30 + 10


def test_valkey_evicts_nothing_within_its_memory() -> None:
    command = COMPOSITION.command("valkey")
    options = dict(zip(command[1::2], command[2::2], strict=True))
    assert options["--maxmemory-policy"] == "noeviction"
    limit = COMPOSITION.service("valkey")["deploy"]["resources"]["limits"]["memory"]
    assert int(options["--maxmemory"].removesuffix("mb")) * 1.4 < int(limit.removesuffix("m"))


# --- The image


def test_image_runs_as_no_one_in_particular() -> None:
    assert last("USER") == "1000:0"
    assert image_environment()["HOME"] == image_environment()["FLEET_STATE_DIR"]


def test_image_serves_without_uv() -> None:
    assert image_command()[:3] == ["/app/.venv/bin/python", "manage.py", "fleet"]
    assert COMPOSITION.command("fleet")[:3] == image_command()[:3]


def test_image_is_restarted_only_if_it_does_not_answer() -> None:
    check = image_health_check()
    assert "/healthz" in check[-1]
    compile(check[-1], "<health check>", "exec")


def test_packages_of_the_image_are_locked_and_its_programs_have_versions() -> None:
    runs = [words for name, words in instructions() if name == "RUN"]
    assert any(words.startswith("uv sync --locked") for words in runs)
    assert all(re.search(r"\buv==\d", words) for words in runs if "pip install" in words)
    bases = [words for name, words in instructions() if name == "FROM"]
    assert all(re.match(r"python:3\.\d+-slim-\w+", base) for base in bases)


def test_no_secret_is_copied_into_the_image(tmp_path: Path) -> None:
    kept = ("manage.py", "chat/llm/client.py", "uv.lock")
    secret = (".env", ".env.example", ".env.production", "chat/.env", ".fleet/secret_key")
    others = (
        ".git/config",
        "tests/conftest.py",
        ".venv/pyvenv.cfg",
        "db.sqlite3",
        "db.sqlite3-wal",
    )
    for name in (*kept, *secret, *others):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    patterns = IGNORED.read_text().splitlines()
    copied = exclude_paths(str(tmp_path), patterns, dockerfile="Dockerfile")
    files = {name for name in copied if (tmp_path / name).is_file()}
    assert files - {"Dockerfile", ".dockerignore"} == set(kept)


def test_nothing_secret_is_said_in_the_dockerfile() -> None:
    assert not re.search(r"(SECRET|PASSWORD|TOKEN|_KEY)\s*=", DOCKERFILE.read_text())
