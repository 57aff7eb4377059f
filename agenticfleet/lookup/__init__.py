"""Look for a model server that runs on this machine already.

No word of a person goes to a server that didn't say what it is, or that somebody else of this
machine may have started.
"""
