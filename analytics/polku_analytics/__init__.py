"""From the events of a lake to the journeys of its people: models, analyses and the report.

The lake is read through `lake.py`; `build.py` makes the journey tables; `funnel.py` and `paths.py` answer questions
over them; `report.py` shows them. Importing this package imports none of these.
"""
