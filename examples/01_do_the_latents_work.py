"""Do a model's latent tokens carry the answer, or does it look past them?

Question: exchange one digit in a scene; how much of the change in the answer goes through the
latents? Asked of two models whose truth is known, so that the instrument itself can be checked.
Time: about 15 s on a laptop CPU. Memory: under 1 GB.
"""

# %% What to ask
import mindseye as me

N_PAIRS = 16
pairs = me.task("digits").pairs(N_PAIRS)
print(pairs[0].clean.question, "->", pairs[0].answers)

# %% Two models: in one, all that follows the latents sees only them; in the other, never
found = {}
for name in ("mediator", "bypass"):
    reasoner = me.load(f"organism:{name}")
    found[name] = me.mediate(reasoner, pairs)
    print(f"\n{name}: {found[name].verdict}")
    print(found[name].effects.round(2).to_string(index=False))

# %% The identity arm: a run's own latents, put back, must change nothing
for name, mediation in found.items():
    print(f"{name}: identity residual {mediation.guards['identity_max_abs']:.1e} nats")

assert found["mediator"].verdicts["kv"].word == "mediates"
assert found["bypass"].verdicts["kv"].word == "negligible"

# %% A figure, in a notebook or a browser
figure = found["mediator"].plot()
