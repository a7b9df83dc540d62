"""What do latents say, were they words, and where do they look?

Question: read the latents of a model that writes the answer into them through four lenses, each
beside shuffled latents, and measure how much of their attention goes to the cell that is asked
about, beside the cells of other questions.
Time: about 15 s on a laptop CPU. Memory: under 1 GB.
"""

# %% The logit lens, and how often it shows the answer
import torch

import mindseye as me
from mindseye.readouts.attending import attention
from mindseye.readouts.lenses import LATENT, build_index, fit_tuned_lens, lens

reasoner = me.load("organism:mediator")
task = me.task("digits")
samples = task.samples(48)
answers = [sample.answer for sample in samples]
traces = reasoner.run_batch(samples)
logit = lens(reasoner, traces, targets=answers, top=3)
print(f"layer -1: {logit.note}\n")
columns = ["layer", "share", "others", "permuted", "excess", "excess_low", "excess_high"]
print("share of slots whose top 3 tokens hold the answer, and the same in shuffled latents:")
print(logit.agreement()[columns].round(2).to_string(index=False))

# %% A tuned lens is fitted on text of other runs, and measured on runs it never saw
text = reasoner.run_batch(task.samples(48, split="train"))
tuned = fit_tuned_lens(reasoner, text, steps=200, generator=torch.Generator().manual_seed(0))
print("\nKL from the model to the lens on text held out, in nats:")
print(tuned.fit.round(2).to_string(index=False))
found = lens(reasoner, traces, kind="tuned", tuned=tuned, targets=answers, top=3)
print(found.agreement()[columns].round(2).to_string(index=False))

# %% Nearest words in context, and the model's own words; here both say less than the logit lens
index = build_index(reasoner, [f"{each.question} {each.answer}" for each in task.samples(64)])
near = lens(reasoner, traces, kind="latentlens", index=index, targets=answers, layers=[LATENT])
scope = lens(reasoner, traces, kind="patchscopes", targets=answers)
for name, each in (("latentlens", near), ("patchscopes", scope)):
    row = each.agreement().iloc[0]
    print(f"\n{name}: answer in the top 10 of {row['share']:.0%} of slots, {row['others']:.0%} of")
    print(f"other runs' latents and {row['permuted']:.0%} of permuted ones")

# %% Attention by segment, and to the cell that is asked about
looks = attention(reasoner, traces)
wide = looks.summary().pivot(index="layer", columns="measure", values="value")
print(f"\nattention of latents:\n{wide[[*looks.to, 'normalised']].round(2).to_string()}")
region = looks.summary(["enrichment", "elsewhere", "excess"])
print("\nattention to the cell asked about over its area, and to cells of other questions:")
print(region[region["layer"] == 1].round(2).to_string(index=False))

# %% Figures, in a notebook or a browser; an intervention then says what any of it is for
figures = logit.plot(), near.plot(), looks.plot(), looks.picture(0)
