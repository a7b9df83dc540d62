"""How do I bring a model that mindseye has never heard of?

Question: what does it take to trace a model in memory, whose way of imagining is new?
Time: about 5 s on a laptop CPU. Memory: under 1 GB.
"""

# %% Any stock model will do; this one is small and knows nothing
import torch
from transformers import GPT2Config, GPT2LMHeadModel

import mindseye as me

torch.manual_seed(0)
config = GPT2Config(
    vocab_size=64, n_embd=64, n_layer=4, n_head=4, bos_token_id=None, eos_token_id=None
)
model = GPT2LMHeadModel(config)

# %% A family is data: here, five states of block 2, fed back right after the prompt
mine = me.LatentProtocol(
    start=61, pad=62, end=63, n_slots=5, trigger="forced", source="layer:2", name="mine"
)
reasoner = me.wrap(model, protocol=mine, eos=())

# %% It runs on inputs prepared elsewhere, and leaves the same trace as any other
trace = reasoner.run({"input_ids": torch.tensor([[3, 1, 4, 1, 5]])}, max_new_tokens=12)
segment = trace.segments[0]
print("visible ids:", trace.token_ids.tolist())
print("latents at", segment.slots, "from states at", segment.sources, "ended by", segment.stop)

# %% What was fed is what block 2 gave one position before
given = trace.cache["blocks.2.hook_resid_post"][0, list(segment.sources)]
print("largest difference:", float((given - segment.fed).abs().max()))

# %% A published family is a preset, with whatever must differ here
lvr = me.protocol("lvr_steps", start=61, pad=62, end=63, n_slots=4)
trace = me.wrap(model, protocol=lvr, eos=()).run(
    {"input_ids": torch.tensor([[3, 1, 4, 1, 5]])}, max_new_tokens=12, force_start=True
)
print("the same weights as LVR runs them:", trace.token_ids.tolist(), trace.fed_is_latent.tolist())
