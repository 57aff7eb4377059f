"""Tests of the whole, at the doors that people and programs use."""

import os
import sys

# Tests start hundreds of processes. Without compiled files each compiles all that it imports, for
# seconds.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False
