"""From the events of a lake to the journeys of its people: models, analyses and the report.

The lake is read through `lake.py`; `build.py` makes the journey tables from `models/`; `analyses/` answers questions
over them, through one of `engines/`; `commands/` and `report/` show the answers. Importing this package imports none of
these.
"""
