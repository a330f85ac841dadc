"""The engines that can answer: what they have in common (`engine.py`), how each says things (`dialect.py`)."""
