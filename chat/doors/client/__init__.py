"""Clients for programs of others. What is here needs nothing else of this project."""
