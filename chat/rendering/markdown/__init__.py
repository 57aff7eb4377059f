"""Markdown that is still being written, as clean HTML."""
