"""Unmodified clients of other projects, each in an environment of its own, against a real fleet."""
