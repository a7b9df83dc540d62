"""Can latents spell out the answer and still do nothing?

Question: a linear probe reads the answer from `bypass`'s latents. Does the model read it too?
Time: about 20 s on a laptop CPU. Memory: under 1 GB.
"""

# %% Run and collect the latents
import numpy as np

import mindseye as me

reasoner = me.load("organism:bypass")
samples = me.task("digits").samples(120)
traces = [reasoner.run(sample) for sample in samples]
latents = np.stack([trace.latents.numpy() for trace in traces])

# %% A probe, beside its control
read = me.probe(latents, [sample.answer for sample in samples])
print(
    f"probe {read.accuracy:.0%} ({read.low:.0%} to {read.high:.0%}), shuffled {read.shuffled:.0%}"
)

# %% An intervention: give each run the latents of another
mediation = me.mediate(reasoner, me.task("digits").pairs(24))
print(mediation.effects.query("effect in ('te', 'pie', 'tie')").round(4).to_string(index=False))
print(mediation.verdict)

assert read.low > read.shuffled
assert mediation.verdict == "negligible"
