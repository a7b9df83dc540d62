"""At which layer and slot does the answer stand?

Question: write the clean run's residual into the reference run, one layer and slot at a time; where
does that restore the clean answer?
Time: about 15 s on a laptop CPU. Memory: under 1 GB.
"""

# %% A sweep over layers and slots
import mindseye as me

reasoner = me.load("organism:mediator")
pairs = me.task("digits", kinds=("zoom",)).pairs(12)
grid = me.sweep(reasoner, pairs, at="latents", hooks=("hook_resid_pre",))

# %% As a table: mean effect in nats, layers down, slots across
print(grid.mean().pivot(index="layer", columns="slot", values="effect").round(2))

# %% As a figure
figure = grid.heatmap()

# %% The activations behind it, under TransformerLens names
trace = reasoner.run(pairs[0].clean)
print(trace.latents.shape, {name: len(at) for name, at in trace.spans.items()})
print(trace.cache["blocks.2.hook_resid_post"].shape)
print(trace.cache["resid_mid", 1].shape)
