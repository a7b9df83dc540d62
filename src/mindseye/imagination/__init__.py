"""Imagination in words: building the data, training on it, and testing what it does."""
