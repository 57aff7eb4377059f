"""What decoding JSON from elsewhere raises."""

import msgspec

# If it is broken, has other fields, is no UTF-8, or is nested too deeply.
UNREADABLE_JSON = (msgspec.MsgspecError, UnicodeError, RecursionError)
