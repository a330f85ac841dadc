"""What can be said about a plan as a whole: names that look alike, rules that never hold, what nobody uses.

Nothing here reads files. `constraints.py`, `conditions.py`, `like.py` and `patterns.py` are pure and know no plan;
the others go over a plan and say where in its files (`places.py`) something stands.
"""
