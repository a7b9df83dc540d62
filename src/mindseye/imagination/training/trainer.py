"""trl's trainer, with a loss that knows its parts and divides by the whole batch's tokens.

The stock Qwen-VL classes declare that they do not take `num_items_in_batch`, so that transformers
and trl fall back to a mean per micro-batch: with unequal lengths that is another loss than the one
of a large batch. Here the count is taken over all micro-batches and GPUs, in loss weights.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Any

import torch
from jaxtyping import Float, Shaped
from torch import Tensor
from transformers import PreTrainedModel, TrainerCallback
from trl.trainer.sft_trainer import SFTTrainer

from mindseye.errors import EngineError
from mindseye.imagination.training.encoding import ANSWER, IGNORED, IMAGINATION
from mindseye.imagination.training.latents import Stage
from mindseye.imagination.training.losses import token_weights
from mindseye.imagination.training.recipe import Recipe

__all__ = ["ImaginationTrainer", "StopAt"]

Scorer = Callable[[Any, Any], float]
"""Returns the share of right answers, given the trainer's model and the accelerator."""


class ImaginationTrainer(SFTTrainer):
    """Trains on imagination and answer with a weight each, and logs the loss of each.

    Args:
        recipe: What is trained, and how.
        scorer: Measures accuracy on held-out items, whenever the trainer evaluates.
        options: What `SFTTrainer` takes.
    """

    model: Any

    # The loss is divided by the tokens of the whole batch, so nothing is left to scale.
    loss_is_scaled_for_ga = True

    def __init__(self, recipe: Recipe, scorer: Scorer | None = None, **options: Any) -> None:
        super().__init__(**options)
        self.recipe = recipe
        self.scorer = scorer
        self._sums: dict[str, Tensor] = defaultdict(lambda: torch.zeros(2))

    def compute_loss(
        self,
        model: Any,
        inputs: Any,
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        """Return this micro-batch's share of the batch's loss.

        With weights w and cross-entropies ce it is sum w ce / sum w, the second sum over all
        micro-batches and GPUs. Latents add their misalignment, averaged over rows.
        """
        own = self._items(inputs)
        items = own if num_items_in_batch is None else num_items_in_batch
        terms = self._latent_terms if self.recipe.imagination == "latent" else self._text_terms
        said, misaligned = terms(model, inputs)
        loss = said / items[0].clamp(min=1e-8) + misaligned / items[1].clamp(min=1)
        # DDP averages gradients over processes, while the sums above run over all of them.
        if num_items_in_batch is not None and self.args.average_tokens_across_devices:
            loss = loss * self.accelerator.num_processes
        return (loss, None) if return_outputs else loss

    def training_step(self, *args: Any, **kwargs: Any) -> Tensor:
        """Take one micro-batch forward and back.

        Raises:
            EngineError: The loss is no number; the weights are as they were.
        """
        loss = super().training_step(*args, **kwargs)
        if not torch.isfinite(loss):
            raise self._broken(f"the loss became {loss.item()}")
        return loss

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        """Return held-out losses, and the accuracy of greedily generated answers."""
        metrics = super().evaluate(*args, **kwargs)
        if self.scorer is not None:
            self.model.eval()
            accuracy = {"eval_accuracy": self.scorer(self.model, self.accelerator)}
            self.log(dict(accuracy))
            metrics |= accuracy
        return metrics

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Add the mean cross-entropy per token of each part since the last log."""
        prefix = "" if self.model.training else "eval_"
        for name in [name for name in self._sums if name.startswith("eval_") == bool(prefix)]:
            summed: Any = self._sums.pop(name)
            if not prefix:  # held-out sums are over all processes already
                summed = self.accelerator.reduce(summed, "sum")
            total, count = summed.tolist()
            if count:
                logs[name] = total / count
        super().log(logs, start_time)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        """Load a checkpoint's weights into the model that is being trained."""
        if self._weights_are_whole():
            self._restore(resume_from_checkpoint)
        else:
            super()._load_from_checkpoint(resume_from_checkpoint, model)

    def _load_best_model(self) -> None:
        """Load the weights of the checkpoint with the best accuracy."""
        if self._weights_are_whole():
            self._restore(str(self.state.best_model_checkpoint))
        else:
            super()._load_best_model()

    def _weights_are_whole(self) -> bool:
        """Whether checkpoints are stock folders: no adapter, no shards."""
        elsewhere = self.is_fsdp_enabled or self.is_deepspeed_enabled
        return isinstance(self.model, PreTrainedModel) and not elsewhere

    def is_sharded(self) -> bool:
        """Whether each process holds a part of the weights only."""
        plugin = getattr(self.accelerator.state, "deepspeed_plugin", None)
        return self.is_fsdp_enabled or (plugin is not None and plugin.zero_stage == 3)

    def _restore(self, folder: str) -> None:
        """Load a stock folder through the stock class.

        transformers' trainer reads the file as it is. Qwen-VL's folders use older names for their
        weights, of which it then loads none, with a warning.
        """
        stock = type(self.model)
        saved = stock.from_pretrained(folder, dtype=self.model.dtype, use_safetensors=True)
        self.model.load_state_dict(saved.state_dict())

    def _text_terms(self, model: Any, inputs: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Return the weighted sum of cross-entropies, and no misalignment."""
        given = {name: value for name, value in inputs.items() if name != "parts"}
        log_probs = model(**given, use_cache=False, fused_lm_head=True).log_probs
        parts = inputs["parts"][:, 1:]
        for part, name in ((IMAGINATION, "imagination_loss"), (ANSWER, "answer_loss")):
            chosen = parts == part
            self._count(name, -(log_probs * chosen).sum(dim=1), chosen.sum(dim=1))
        weights = token_weights(parts, self.recipe.imagination_weight, self.recipe.answer_weight)
        return -(weights * log_probs).sum(), log_probs.new_zeros(())

    def _latent_terms(self, model: Any, inputs: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Return the weighted sum of cross-entropies, and the sum of misalignments over rows."""
        stage = self._stage()
        found = model(latent_batch=dict(inputs), stage=stage)
        start, answer = -found["start"], -found["answer"]
        self._count("answer_loss", answer.sum(dim=1), (inputs["labels"] != IGNORED).sum(dim=1))
        said = self.recipe.answer_weight * answer.sum()
        if self.recipe.latent.trigger == "sampled":
            self._count("imagination_loss", start[:, 0], torch.ones(len(start)))
            said = said + self.recipe.imagination_weight * start.sum()
        if stage == "imagine":
            return said, said.new_zeros(())
        self._count("alignment_loss", found["misaligned"], torch.ones(len(start)))
        plan = self.recipe.latent
        share = plan.copy_token_weight if stage == "copy" else 1.0
        return share * said, plan.alignment_weight * found["misaligned"].sum()

    def _stage(self) -> Stage:
        """Return how latents are taught at this step; the step alone decides."""
        plan = self.recipe.latent
        if not self.model.training:
            return "imagine"
        if plan.method == "monet":
            return "align"
        copies = self.state.global_step < math.floor(plan.copy_share * self.state.max_steps)
        return "copy" if copies else "imagine"

    def _items(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """Return a micro-batch's loss weights, summed, and its rows."""
        weights = (self.recipe.imagination_weight, self.recipe.answer_weight)
        if self.recipe.imagination != "latent":
            tokens = token_weights(inputs["parts"][:, 1:], *weights).sum()
        else:
            tokens = weights[1] * (inputs["labels"] != IGNORED).sum()
            if self.recipe.latent.trigger == "sampled":
                tokens = tokens + weights[0] * len(inputs["labels"])
        rows = torch.tensor(len(inputs["labels"]), device=tokens.device)
        return torch.stack([tokens.float(), rows.float()])

    def _get_num_items_in_batch(self, batch_samples: list[Any], device: torch.device) -> Any:
        """Count a whole batch, which transformers hands to `compute_loss`."""
        items = torch.stack([self._items(inputs) for inputs in batch_samples]).sum(dim=0)
        return self.accelerator.reduce(items.to(device), "sum")

    def _count(
        self, name: str, totals: Float[Tensor, " batch"], counts: Shaped[Tensor, " batch"]
    ) -> None:
        """Add up a loss and the tokens it is over, item by item."""
        rows: Any = torch.stack([totals.detach().float(), counts.to(totals.device).float()], dim=1)
        if self.recipe.answers_from == "words":  # an item has two rows
            rows = rows.unflatten(0, (-1, 2)).sum(dim=1)
        if not self.model.training:
            name = f"eval_{name}"
            # Without the rows that are repeated to give every process as many.
            rows = self.accelerator.gather_for_metrics(rows)
        self._sums[name] = self._sums[name].to(rows.device) + rows.sum(dim=0)

    def _clip_grad_norm(self, model: Any) -> Any:
        """Clip gradients, and stop before a broken one reaches the weights.

        Raises:
            EngineError: Their norm is no number.
        """
        norm = super()._clip_grad_norm(model)
        if norm is not None and not math.isfinite(float(norm)):
            raise self._broken(f"the norm of the gradients became {float(norm)}")
        return norm

    def _broken(self, what: str) -> EngineError:
        step = self.state.global_step + 1
        return EngineError(
            f"Training stopped at step {step}: {what}. The weights of that step were not changed, "
            f"and checkpoints written before it lie in {self.args.output_dir!r}. Lower "
            f"learning_rate (it was {self._get_learning_rate():.2g} there) or max_grad_norm, look "
            "for items that are empty or enormous, and start again: it resumes from the last one."
        )

    def _send_telemetry(self) -> None:
        """Tell nobody that a training began; trl would tell its makers."""


class StopAt(TrainerCallback):
    """Stops a run after a step, with a checkpoint.

    Args:
        step: The step.
    """

    def __init__(self, step: int) -> None:
        self.step = step

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step >= self.step:
            control.should_save = control.should_training_stop = True
