"""Requests nobody would send, by the million, against the real application.

`make fuzz` runs it long, CI short. Every input is made from a seed and its number, so one that fails is made again by
`python -m tests.fuzz --seed S --first N --inputs 64`.
"""
