"""Along which edges, and from which heads, does the answer get out of the latents?

Question: patch head by head, cut attention edges between spans beside random ones, and let only
what follows the latents read a patched key and value. Do gradients point at the same places?
Time: about 15 s on a laptop CPU. Memory: under 1 GB.
"""

# %% Every head of every layer and slot, under two outcomes, from one set of runs
import mindseye as me

reasoner = me.load("organism:mediator")
task = me.task("digits")
pairs = task.pairs(8)
outcomes = ("logit_difference", "probability")
grid = me.sweep(reasoner, pairs, hooks=("attn.hook_z",), heads=True, outcome=outcomes)
best = grid.mean().sort_values("effect", ascending=False)
print("heads that restore the clean answer most, with the share of the whole difference:")
columns = ["layer", "head", "slot", "effect", "share"]
for name, rows in best.groupby("outcome"):
    print(f"\n{name}\n{rows[columns].head(3).round(3).to_string(index=False)}")

print("A probability near 0 hardly moves; the logit difference shows what a head adds.")

# %% Attention edges, cut in two layers at a time; a cut means something beside random ones
cut = me.knock_out(reasoner, pairs, window=2)
print("\neffect of cutting edges in two layers, in nats, and of as many random edges:")
columns = ["edges", "first_layer", "effect", "control"]
print(cut.mean().sort_values("effect")[columns].head(4).round(2).to_string(index=False))
wired = cut.mean().set_index("edges")["effect"].loc["image to answer"].abs().max()
print(f"from image to answer this model has no edges, and cutting them does {wired:.5f} nats")

# %% What a layer's heads tell a later layer's keys and values, and only the answer reads
paths = me.path_patch(reasoner, pairs, readers="post")
told = paths.mean().pivot(index="layer", columns="receiver_layer", values="effect")
print(f"\nsending by receiving layer, in nats:\n{told.round(2).to_string(na_rep='')}")

# %% Gradients guess quickly; the cells that rank highest carry their exact effect
guess = me.attribute(reasoner, pairs, method="integrated")
print(f"\nranking:\n{guess.ranking().drop(columns='hook').head(5).round(2).to_string(index=False)}")
sums = guess.completeness[["total", "joint", "residual"]].abs().mean()
print(f"summed over slots {sums['total']:.2f}, exact joint effect {sums['joint']:.2f} nats")

# %% Strict runs: the image is dropped after the latents, and the rest is decoded again
strict = me.strict_runs(reasoner, task.samples(16))
same = 1 - strict["flipped"].mean()
print(f"\nwithout the image {same:.0%} of {len(strict)} answers stay; in this model they must")

# %% Figures, in a notebook or a browser
figures = grid.heatmap("probability"), cut.plot(), paths.heatmap(), guess.plot()
