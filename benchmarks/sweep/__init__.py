"""The sweep against its peers: raw hooks, nnsight and TransformerLens, on the same weights.

`python -m benchmarks.sweep` runs everything, `--quick` a tiny version of it. Every part counts what
a user waits for: the two runs of the pair, reading the donor, and the patched cells.
"""
