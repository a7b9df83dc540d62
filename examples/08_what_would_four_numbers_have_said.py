"""Would a cosine, a probe, an ablation or an accuracy have told what these latents do?

Question: five models whose truth is known. What does the ladder of levels say, and what would the
single numbers that papers report have said?
Time: about 40 s on a laptop CPU. Memory: under 1 GB.
"""

# %% What a handful of pairs could show at all, told before the run
import mindseye as me
from mindseye.studies import validate

reasoner = me.load("organism:anisotropic")
pairs = me.task("digits").pairs(24)
print(me.forecast(reasoner, pairs, pilot=8))

# %% One model in detail: its latents are nearly parallel, and carry everything
m = me.mediate(reasoner, pairs)
print(f"\nverdict: {m.verdict}")
print(*m.conclusion.reasons, sep="\n")
columns = ["level", "effect", "mean", "low", "high", "p_value"]
print(m.effects.query("effect in ('te', 'pie', 'tie')")[columns].round(2).to_string(index=False))
print(m.checklist[["item", "what", "state"]].to_string(index=False))

# %% Five models, the ladder's verdict, and four common practices
found = validate(("anisotropic", "bypass", "backup", "soft-prompt", "relay"), n_pairs=24)
frame = found.to_frame()
practices = ["raw cosine", "probe", "noise ablation", "shared tensor"]
print(frame[["organism", "truth", "verdict", *practices]].round(2).to_string(index=False))
for practice in practices:
    misled = frame[frame[f"{practice} active"] != frame["active"]]["organism"]
    print(f"{practice} says the opposite of the truth for {', '.join(misled)}")

assert not found.wrong
