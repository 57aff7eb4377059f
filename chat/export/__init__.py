"""A chat to take along: as Markdown for people, as JSON for programs (README.md)."""
