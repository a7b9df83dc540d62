"""How is another outcome measured?

Question: does the verdict on `mediator` hold for a probability as it does for a logit difference?
Time: about 15 s on a laptop CPU. Memory: under 1 GB.
"""

# %% An outcome is a function of the logits where a pair's two answers part
import mindseye as me


@me.outcome("probability", unit="share")
def probability(logits, parting, /):
    """Return the clean answer's probability."""
    return logits.softmax(-1)[..., parting.clean]


# %% It is used by name, here and in `me.sweep`
reasoner = me.load("organism:mediator")
mediation = me.mediate(reasoner, me.task("digits").pairs(16), levels=("kv",), outcome="probability")
print(mediation.effects.round(3).to_string(index=False))
