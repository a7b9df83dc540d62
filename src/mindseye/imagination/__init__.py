"""Imagination in words: building its data, and training on it.

`building` turns interleaved reasoning data into chains of words; `training` fine-tunes a model on
them, or on the latents of the same data. Both start at a function of their name.
"""
