"""If one latent is taken away, do the others make up for it?

Question: how often does `mediator` change its answer when one of its four latents is set to zero,
with the later latents as they were (open loop), and with later latents that may react (closed
loop)?
Time: about 15 s on a laptop CPU. Memory: under 1 GB.
"""

# %% Run some samples, all as one batch
import torch

import mindseye as me

reasoner = me.load("organism:mediator")
traces = reasoner.run_batch(me.task("digits").samples(24))

# %% Zero the latent of each slot in turn
changed = {"open_loop": [0] * 4, "closed_loop": [0] * 4}
for trace in traces:
    branches = [
        [me.Edit("hook_embed", slot[None], torch.zeros(1, trace.embeds.shape[1]))]
        for slot in trace.latent_positions
    ]
    said = reasoner.replay(trace.until_answer(), [[], *branches]).logits[:, -1].argmax(dim=-1)
    for k in range(4):
        changed["open_loop"][k] += int(said[k + 1] != said[0])
    for k, rerun in enumerate(reasoner.replay(trace, branches, mode="closed_loop")):
        changed["closed_loop"][k] += int(rerun.answer != trace.answer)

# %% Open loop is a direct effect, closed loop a total one; they answer different questions
for mode, counts in changed.items():
    print(f"{mode}: {counts} of {len(traces)} answers changed, by slot")
