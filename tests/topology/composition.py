"""docker-compose.yml as Compose reads it: with the variables of `.env` in their places."""

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO, StringIO
from pathlib import Path
from typing import Any

import yaml
from dockerfile_parse import DockerfileParser
from dotenv import dotenv_values

ROOT = Path(__file__).parent.parent.parent
COMPOSE, DOCKERFILE = ROOT / "docker-compose.yml", ROOT / "Dockerfile"
EXAMPLE, IGNORED = ROOT / ".env.example", ROOT / ".dockerignore"
# The innermost one: defaults may hold others.
VARIABLE = re.compile(r"(?<!\$)\$\{(\w+)(?:(:-|:\?)([^${}]*))?\}")
COMPOSES_OWN = {"COMPOSE_PROFILES"}  # read by Compose itself


class MissingVariable(Exception):
    """Raised for a variable without a value that must have one."""


def interpolated(text: str, variables: Mapping[str, str]) -> str:
    """Return the text with the values of its variables."""
    while found := VARIABLE.search(text):
        name, operator, rest = found.groups()
        value = variables.get(name, "")
        if not value and operator == ":?":
            raise MissingVariable(f"{name} {rest}")
        text = text[: found.start()] + (value or rest or "") + text[found.end() :]
    return text.replace("$$", "$")


def with_variables(node: Any, variables: Mapping[str, str]) -> Any:
    """Return a part of the file with the values of the variables in all its texts."""
    if isinstance(node, dict):
        return {key: with_variables(value, variables) for key, value in node.items()}
    if isinstance(node, list):
        return [with_variables(value, variables) for value in node]
    return interpolated(node, variables) if isinstance(node, str) else node


@dataclass(frozen=True)
class Composition:
    """The file, and the variables of a `.env` beside it."""

    content: dict[str, Any]
    variables: dict[str, str]

    @classmethod
    def read(cls, variables: Mapping[str, str]) -> "Composition":
        content = yaml.safe_load(COMPOSE.read_text())
        return cls(with_variables(content, variables), dict(variables))

    def service(self, name: str) -> dict[str, Any]:
        return dict(self.content["services"][name])

    def command(self, name: str) -> list[str]:
        return [str(part) for part in self.service(name)["command"]]

    def environment(self, name: str) -> dict[str, str]:
        """Return what a container gets: all of `.env` if it is asked for, and then its own."""
        service = self.service(name)
        file = self.variables if service.get("env_file") else {}
        return {**file, **{key: str(value) for key, value in service["environment"].items()}}

    def health_check(self, name: str) -> list[str]:
        """Return the command of a service's health check, or of its image's."""
        if "healthcheck" in self.service(name):
            kind, *command = self.service(name)["healthcheck"]["test"]
            assert kind == "CMD"
            return list(command)
        return image_health_check()

    def config(self, name: str) -> str:
        return str(self.content["configs"][name]["content"])


def names_read() -> set[str]:
    """Return the names of all variables in the file."""
    return set(re.findall(r"(?<!\$)\$\{(\w+)", COMPOSE.read_text()))


def example(*, with_comments: bool) -> dict[str, str]:
    """Return what `.env.example` sets, perhaps also behind a comment sign."""
    text = EXAMPLE.read_text()
    if with_comments:
        text = re.sub(r"^# (?=[A-Z_]+=)", "", text, flags=re.MULTILINE)
    return {name: value or "" for name, value in dotenv_values(stream=StringIO(text)).items()}


# --- The image --------------------------------------------------------------------------------


def instructions() -> list[tuple[str, str]]:
    """Return the instructions of the Dockerfile, with their words."""
    parser = DockerfileParser(fileobj=BytesIO(DOCKERFILE.read_bytes()))
    return [
        (step["instruction"], step["value"])
        for step in parser.structure
        if step["instruction"] != "COMMENT"
    ]


def last_stage() -> list[tuple[str, str]]:
    """Return the instructions of the stage that becomes the image."""
    steps = instructions()
    begins = max(place for place, (name, _) in enumerate(steps) if name == "FROM")
    return steps[begins:]


def last(name: str) -> str:
    """Return the words of the last instruction of this kind in the image's stage."""
    return [words for each, words in last_stage() if each == name][-1]


def image_environment() -> dict[str, str]:
    parts = [part for name, words in last_stage() if name == "ENV" for part in shlex.split(words)]
    return dict(part.split("=", 1) for part in parts)


def image_command() -> list[str]:
    return [str(part) for part in yaml.safe_load(last("CMD"))]


def image_health_check() -> list[str]:
    return [str(part) for part in yaml.safe_load(last("HEALTHCHECK").partition("CMD ")[2])]
