"""Settings of every test: hypothesis draws the same examples each time and judges no test by its speed."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("project", deadline=None, derandomize=True)
settings.load_profile("project")
