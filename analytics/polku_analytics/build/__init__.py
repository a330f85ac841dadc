"""`polku build`: from the events of a lake to its journey tables.

`run.py` walks the steps: what is new (`news.py`), whom it concerns (`affected.py`), the models over those people
(`compute.py`, `identity.py`, `reference.py`), what has changed in the tables (`changes.py`), and publishing it as one
(`publish.py`, `record.py`).
"""

from polku_analytics.build.record import BuiltTable
from polku_analytics.build.run import Build, build

__all__ = ["Build", "BuiltTable", "build"]
