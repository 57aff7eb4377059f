"""Whether programs of the system that tests start may be missing: browsers, PostgreSQL, proxies."""

import os

# CI installs all of them, and sets this. Elsewhere, tests skip themselves if one is missing.
REQUIRED = os.environ.get("REQUIRE_PROGRAMS") == "on"
