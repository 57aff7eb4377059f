"""The header that joins traces of several programs, and the settings of traces."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from agenticfleet.environment import Environment
from chat.trace_context import TraceParent, trace_link
from tests.serving import MANAGE, OWN_SETTINGS

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.mark.parametrize(
    "header",
    [
        "",
        "00",
        PARENT.upper(),
        PARENT + "-more",
        PARENT.replace("00-", "ff-", 1),
        "00-" + 32 * "0" + "-b7ad6b7169203331-01",
        PARENT[:36] + 16 * "0" + "-01",
        PARENT[:-1],
        " " + PARENT,
        PARENT + "\n",
        "é" + PARENT[1:],
    ],
)
def test_wrong_traceparent_is_none(header: str) -> None:
    assert TraceParent.parse(header.encode()) is None


def test_traceparent_of_a_later_version_is_taken() -> None:
    assert str(TraceParent.parse(PARENT.replace("00-", "01-", 1).encode() + b"-more")) == PARENT


def test_trace_link_is_made_of_the_template(settings: Any) -> None:
    settings.FLEET_TRACE_URL = "https://traces.example/trace/{trace_id}?x={y}"
    assert trace_link("ab") == "https://traces.example/trace/ab?x={y}"
    assert trace_link("") == ""
    settings.FLEET_TRACE_URL = ""
    assert trace_link("ab") == ""


def check(folder: Path, **environment: str) -> str:
    """Return what `manage.py check` complains about with these settings."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(OWN_SETTINGS)}
    ran = subprocess.run(
        [sys.executable, MANAGE, "check"],
        env={**clean, "FLEET_STATE_DIR": str(folder), **environment},
        capture_output=True,
        text=True,
    )
    return ran.stderr


def test_traces_without_their_packages_stop_the_start(tmp_path: Path) -> None:
    # A package that hides the installed one.
    (tmp_path / "opentelemetry").mkdir()
    (tmp_path / "opentelemetry/__init__.py").touch()
    receiver = {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1:4318/v1/traces"}
    assert check(tmp_path, PYTHONPATH=str(tmp_path), **receiver) == (
        "Wrong setting: OTEL_EXPORTER_OTLP_TRACES_ENDPOINT needs the packages of OpenTelemetry:"
        " uv sync --extra telemetry\n"
    )


@pytest.mark.parametrize(
    "url",
    ["traces.example/{trace_id}", "ftp://traces.example/{trace_id}", "https://traces.example"],
)
def test_trace_url_without_a_place_or_a_trace_is_refused(tmp_path: Path, url: str) -> None:
    assert check(tmp_path, FLEET_TRACE_URL=url).startswith("Wrong setting: FLEET_TRACE_URL must ")


def test_all_settings_of_a_prefix_are_found_in_their_first_source(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("OTEL_A=file\nOTEL_B=file\nOTEL_C=\nOTHER=1\n")
    env = Environment({"OTEL_A": "environment"})
    env.add_file(tmp_path / ".env")
    assert env.with_prefix("OTEL_") == {"OTEL_A": "environment", "OTEL_B": "file"}
