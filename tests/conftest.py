"""Settings of every test: hypothesis draws the same examples each time and judges no test by its speed."""

from __future__ import annotations

import signal

from hypothesis import settings

settings.register_profile("project", deadline=None, derandomize=True)
settings.load_profile("project")

# A shell starts background jobs with SIGINT ignored, and every child would inherit that: tests of Ctrl-C would wait for
# an interruption that never comes.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
