"""Long rendering takes turns, so that a worker's event loop keeps getting its own."""

import threading

# One thread at a time renders long texts and pages. More would not be faster, because they share
# one interpreter, and whenever the loop wants it back, it would wait for each of them: for 90 ms
# while ten readers open a long chat.
turn = threading.RLock()
