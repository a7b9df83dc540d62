"""Do latents do nothing, and words better? A paper's whole argument on small models.

Question: where does a miniature agree with what arXiv 2602.22766 claims, and where does it not?
Time: one to two minutes on a laptop CPU, for one training seed and few pairs. Memory: under 1 GB.
"""

# %% Three ways to answer, the same base, data and steps
from mindseye.studies import reproduce

ways = ("natural", "capimagine", "direct")
found = reproduce({way: [f"organism:{way}"] for way in ways}, n_pairs=24)

# %% Every claim with its number, its interval, the range in which it agrees, and a word
columns = ["claim", "value", "low", "high", "rule_low", "rule_high", "word"]
print(found.to_frame()[columns].round(2).to_string(index=False))
print(found.counts())

# %% What one claim rests on, and what its published number cannot tell
claim = next(each for each in found.claims if each.key == "words-matter-more")
print(f"\n{claim.published.statement}", *claim.published.figures, sep="\n  ")
print(f"{claim.quantity}: {claim.word}. {claim.rule.why}")
print(claim.unseen)

# %% Words and latents under edits of the same strength; -1 is the whole way to the other answer
shares = found.edits.pivot(index="leaves", columns="imagines", values="mean")
print(f"\n{shares.loc[found.edits['leaves'].unique()].round(2).to_string()}")

assert sum(found.counts().values()) == len(found.claims)
