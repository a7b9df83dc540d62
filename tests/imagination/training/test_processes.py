"""Two processes take the steps that one takes."""

import dataclasses
import json
import subprocess
import sys

import pytest
from safetensors.torch import load_file

from mindseye.imagination.training.recipe import LatentPlan
from mindseye.imagination.training.running import train

pytestmark = [pytest.mark.model, pytest.mark.slow]

SCRIPT = """
import json, sys, accelerate
from mindseye.imagination.training import Recipe, train
from mindseye.tasks.digits import Digits
recipe, out, n = Recipe.load(sys.argv[1]), sys.argv[2], int(sys.argv[3])
processes = accelerate.PartialState(cpu=True)
assert processes.num_processes == n, processes.num_processes
result = train(recipe, Digits().samples(15, split="train"), out)
if processes.is_main_process:
    open(out + "/log.json", "w").write(json.dumps(result.log))
"""
LOGGED = ("loss", "grad_norm", "imagination_loss", "answer_loss", "alignment_loss",
          "eval_imagination_loss", "eval_answer_loss", "eval_accuracy")  # fmt: skip


@pytest.mark.parametrize("imagination", ["text", "latent"])
def test_two_processes_take_the_steps_of_one(small, items, tmp_path, imagination):
    latent = LatentPlan(n_slots=4, copy_share=0.5)
    recipe = dataclasses.replace(
        small, imagination=imagination, latent=latent, micro_batch=1, max_steps=4,
        imagination_weight=0.5,
    )  # fmt: skip
    alone = train(recipe, items, tmp_path / "alone")
    recipe.save(tmp_path / "recipe.json")
    (tmp_path / "run.py").write_text(SCRIPT)
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2", "--standalone"]
    told = [str(tmp_path / name) for name in ("run.py", "recipe.json", "together")]
    subprocess.run([*launch, *told, "2"], check=True, capture_output=True)
    one, two = (load_file(tmp_path / n / "model.safetensors") for n in ("alone", "together"))
    assert max((one[name] - two[name]).abs().max().item() for name in one) < 1e-6
    log = json.loads((tmp_path / "together" / "log.json").read_text())
    for entry, other in zip(alone.log, log, strict=True):
        for name in set(LOGGED) & set(entry):
            assert other[name] == pytest.approx(entry[name], abs=1e-5, rel=1e-5), name
