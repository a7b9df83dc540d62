"""Imagination in words: building its data, training on it, and intervening on it.

`building` turns interleaved reasoning data into chains of words; `training` fine-tunes a model on
them, or on the latents of the same data. Both start at a function of their name. `rewording` says a
run's words otherwise, `matching` edits words and latents alike, and `miniature` trains models on
equal terms to compare.
"""

from mindseye.imagination.matching import STRENGTHS, Strength, matched

__all__ = ["STRENGTHS", "Strength", "matched"]
