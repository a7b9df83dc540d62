"""What can be read from the latents, and could it have been read from something else?

Question: a probe reads the answer from `bypass`'s latents. Do other states of the same runs show it
as well, would random weights, does it add to the image, and does the model itself read it?
Time: about 25 s on a laptop CPU. Memory: under 1 GB.
"""

# %% Runs, and probes of the latents beside their baselines, with a random twin
import mindseye as me
from mindseye.readouts.probes import (
    conditional_gain,
    decodability,
    derived_question,
    planted_power,
    probe_runs,
    random_twin,
    states_of,
)

reasoner = me.load("organism:bypass")
samples = me.task("digits").samples(100)
traces = [trace for trace in map(reasoner.run, samples) if trace.emitted]
bars = probe_runs(traces, per=("pooled",), twin=random_twin(reasoner), n_permutations=9)
print("read correctly; layer -1 is what the decoder was fed")
print(bars.table("accuracy").round(2).to_string())
print(bars.table("v_information").round(2).to_string())

# %% The word for the latents, and for the question alone, where "not decodable" takes power
states = states_of(traces, [-1])[-1]
answers = [trace.sample.answer for trace in traces]
latents, question = (bars.probes[-1, name, -1] for name in ("latents, pooled", "question"))
power = planted_power(states["question"], answers, strengths=(2.0, 4.0, 8.0), n_draws=5)
print("\nlatents:", decodability(latents))
print("question:", decodability(question, power))

# %% What the latents add for a probe that has image and question already
gain = conditional_gain(
    states["latents"], {"image": states["image"], "question": states["question"]}, answers
)
print(f"\nlatents add {gain.gain:.2f} bits ({gain.low:.2f} to {gain.high:.2f}) to image + question")

# %% Does the model read them? Ask again, with the latents in place of the image
asked = samples[:12]
for name in ("bypass", "feedback"):
    found = derived_question(me.load(f"organism:{name}"), asked, asked).accuracy()
    print(f"\n{name}", found.round(2).to_string(index=False), sep="\n")

assert latents.low > max(latents.majority, latents.shuffled)
