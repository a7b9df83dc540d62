"""Does the answer follow what was imagined, in words as in latents?

Question: under edits of the same strength, which model's answer moves: one that imagines in words,
one that imagines in latents, or one that answers from its words without the picture?
Time: about half a minute on a laptop CPU. Memory: under 1 GB.
"""

# %% Two models that differ in how they imagine: same base, same items, same number of steps
import mindseye as me
from mindseye.imagination import matched

words, latents, captioner = (
    me.load(f"organism:{name}") for name in ("capimagine", "natural", "captioner")
)

# %% Shares of each model's own total effect; -1 is the whole way to the other picture's answer
for kind in ("zoom", "sort"):
    pairs = me.task("digits", kinds=(kind,)).pairs(12)
    table = matched(words, latents, pairs)
    wide = table.pivot(index="leaves", columns="imagines", values="mean")
    print(f"\nasked to {kind}\n{wide.loc[table['leaves'].unique()].round(2).to_string()}")

# %% The captioner is the control: its words are the only path, so the twin's go the whole way
found = me.mediate(captioner, pairs, levels=("words",))
total, through = (found.effect(name, level="words").mean for name in ("te", "tie"))
print(f"\nthrough the captioner's words go {through:.1f} of {total:.1f} nats")
assert found.rows["pde"].abs().max() == 0

# %% Tell the model that sorts its twin's words, and see which picture it answers for
pair = pairs[0]
own, other = words.run(pair.clean), words.run(pair.reference)
marks = own.token_ids[own.spans["end"] - own.n_prompt].tolist()
told = words.run(pair.clean, saying=[*other.words, *marks])
print(f"\n{words.read(other.words)} -> {told.answer} (the picture shows {pair.clean.answer})")
