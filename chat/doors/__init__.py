"""How programs get in over HTTP: one run log, several renderings.

A door finds out who asks, makes a ChatRequest, lets `Runs.start_or_join` start or join its run, and
renders what `Runs.follow` yields. No door has an engine, a store or an ending of its own.
"""
