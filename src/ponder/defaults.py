"""What is used where nothing is said."""

STRATEGY = "cot | draw(8) | vote"
"""Chosen by measurement: see "Measured" in the README."""

CELLS = 8192
"""Tokens that all live sequences of a model together may hold."""

LEAST_CELLS = 256
"""The smallest context that llama.cpp takes with as many sequences as we keep."""

CONFIDENCE = 0.95
"""With which a risk is certified."""
