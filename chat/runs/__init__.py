"""The life of a run: start and join, supervision and ending, log and replay, leases."""
