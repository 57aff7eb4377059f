"""Inputs that nobody planned for: each is refused in a way that its sender can read."""
