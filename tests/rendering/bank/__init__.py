"""Markdown as models write it, and what a reader sees of it."""
