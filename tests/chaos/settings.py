"""The fleet's settings with the tools of a storm, for the processes of its fleet."""

import os

from agenticfleet.settings import *  # noqa: F403
from agenticfleet.settings import INSTALLED_APPS as PRODUCT_APPS

INSTALLED_APPS = [*PRODUCT_APPS, "tests.chaos.tools.StormTools"]
CHAOS_ACTS_URL = os.environ["CHAOS_ACTS_URL"]
