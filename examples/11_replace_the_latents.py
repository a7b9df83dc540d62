"""What happens when something else is fed in the place of the latents?

Question: does `mediator` lose its answer because content is missing, or because it is fed damage?
Time: about 15 s on a laptop CPU. Memory: under 1 GB.
"""

# %% Replacements are asked for by name; parameters stand behind a colon
import mindseye as me

reasoner = me.load("organism:mediator")
pairs = me.task("digits").pairs(24)
arms = ["identity", "noise:scale=0.3", "matched_noise", "zero", "erase", "removal"]
arms += ["donor:answer=same", "donor:answer=other", "twin"]
rows = me.battery(reasoner, pairs, arms, levels=("embedding",))

# %% Beside every loss stands how strange the vectors were that caused it
losses = me.means(rows, ["arm"]).set_index("arm")
strange = rows.groupby("arm")[["norm_percentile", "mahalanobis", "nearest"]].mean()
print(losses.join(strange).round(2).to_string())

# %% Closed loop, the words react: what was answered instead?
closed = me.battery(reasoner, pairs[:8], ["identity", "twin", "zero:slots=0"], loop="closed")
print(closed.pivot(index="pair", columns="arm", values="answer").to_string())

# %% Donors are the model's own latents, and those of another answer cost it: content is missing
