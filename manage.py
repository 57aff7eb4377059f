#!/usr/bin/env python
import os
import sys

from django.core.exceptions import ImproperlyConfigured
from django.core.management import execute_from_command_line

if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "agenticfleet.settings")
    if sys.argv[1:2] == ["test"]:
        os.environ["PYTHON_DOTENV_DISABLED"] = "1"
    try:
        execute_from_command_line(sys.argv)
    except ImproperlyConfigured as exc:
        sys.exit(f"Wrong setting: {exc}")
