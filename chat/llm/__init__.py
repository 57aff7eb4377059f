"""The only client for models."""
