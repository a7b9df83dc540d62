"""A trace's activations, as the `ActivationCache` that users of TransformerLens know."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

from torch import Tensor
from transformer_lens import ActivationCache

from mindseye.reasoners.hooks import hook_names, match_names

if TYPE_CHECKING:
    from mindseye.reasoners.trace import Trace

__all__ = ["TraceCache"]


class TraceCache(ActivationCache):
    """Activations of one run, with a batch axis of one, computed for the names asked for.

    The first look at a name replays the run once with a hook there; `fetch` replays once for many.
    TransformerLens' short keys work: `cache["resid_post", 2]`.
    """

    def __init__(self, trace: Trace) -> None:
        # Its helpers ask the model for no more than these two facts.
        text = trace.reasoner.model.config.get_text_config()
        cfg = SimpleNamespace(n_layers=text.num_hidden_layers, attn_only=False)
        super().__init__({}, cast("Any", SimpleNamespace(cfg=cfg)), has_batch_dim=True)
        self.has_embed = True
        self._trace = trace

    def fetch(self, *patterns: str) -> TraceCache:
        """Compute all names that match, such as `blocks.*.hook_resid_post`, in one replay.

        Raises:
            EditError: A pattern matches no hook of this model.
        """
        reasoner = self._trace.reasoner
        missing = [
            name
            for name in match_names(patterns, reasoner.model, reasoner.architecture)
            if name not in self.cache_dict
        ]
        if missing:
            found = reasoner.replay(self._trace, record=missing).activations
            self.cache_dict.update(
                found if self.has_batch_dim else {name: a[0] for name, a in found.items()}
            )
        return self

    def __getitem__(self, key: Any) -> Tensor:
        """Return an activation, replaying the run if it is the first time.

        Raises:
            EditError: The model has no such hook.
        """
        name = self._full_name(key)
        if name not in self.cache_dict:
            self.fetch(name)
        return self.cache_dict[name]

    def __contains__(self, key: object) -> bool:
        """Say whether the model has the hook, computed or not."""
        return key in hook_names(self._trace.reasoner.model, self._trace.reasoner.architecture)

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names computed so far."""
        return iter(self.cache_dict)

    def _full_name(self, key: Any) -> str:
        from transformer_lens.utilities.components_utils import get_act_name

        if isinstance(key, str):
            return key if "hook_" in key else get_act_name(key)
        name, *rest = key
        if rest and isinstance(rest[0], int) and rest[0] < 0:
            rest[0] += self.model.cfg.n_layers
        return get_act_name(name, *rest)
