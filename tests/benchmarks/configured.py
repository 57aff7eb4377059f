"""Configure Django when it is imported, for programs that import models and are no commands."""

import os

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "agenticfleet.settings")
django.setup()
