"""The contract: what programs send and get, as documents that are made of the code.

`manage.py contract` writes them, and tells when a change would break programs that exist.
"""
