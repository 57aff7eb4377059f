"""The figures of runs: collected, judged, and passed on to operators."""
