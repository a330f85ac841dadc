"""Scorecards by role: the figures (`figures.py`) and which role looks at which (`roles.py`)."""
