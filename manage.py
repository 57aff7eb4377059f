#!/usr/bin/env python
import os
import sys
from importlib.util import find_spec

import django
from django.apps import apps
from django.core.exceptions import ImproperlyConfigured
from django.core.management import execute_from_command_line


def install_test_tools() -> None:
    """Run this command again with the test tools, which `uv run` doesn't install by itself."""
    uv = os.environ.get("UV")  # set by `uv run`
    if uv is None:
        sys.exit("The test tools are missing: uv sync --group dev")
    os.execv(uv, [uv, "run", "--group", "dev", *sys.argv])  # noqa: S606


if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "agenticfleet.settings")
    if sys.argv[1:2] == ["test"]:
        os.environ["PYTHON_DOTENV_DISABLED"] = "1"
        if find_spec("pytest") is None:
            install_test_tools()
    try:
        if sys.argv[1:2] == ["ask"]:
            # Beside a running fleet, the answer begins before all of Django would be there.
            from agenticfleet.asking import ask_quickly

            if (exit_code := ask_quickly(sys.argv[2:])) is not None:
                sys.exit(exit_code)
        if sys.argv[1:2] == ["runserver"] and "RUN_MAIN" not in os.environ:
            # Else what is wrong in fleet.toml is shown with a traceback, and later.
            django.setup()
        execute_from_command_line(sys.argv)
    except ImproperlyConfigured as exc:
        sys.exit(f"Wrong setting: {exc}")
    except Exception as exc:
        # An app that fleet.toml names may raise anything while Django sets it up.
        from tooling.loading import complaint_of

        if apps.ready or not (said := complaint_of(exc)):
            raise
        sys.exit(f"Wrong setting: {said}")
