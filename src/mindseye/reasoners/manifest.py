"""`mindseye.json`: what a checkpoint folder says of itself beyond the stock config."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path

from mindseye.errors import ModelError
from mindseye.reasoners.protocols import LatentProtocol
from mindseye.reasoners.wiring import Knockout

__all__ = ["MANIFEST", "Manifest"]

MANIFEST = "mindseye.json"


@dataclass(frozen=True, slots=True)
class Manifest:
    """A folder's latent protocol and wiring.

    Attributes:
        protocol: How the model emits latents; none if it does not.
        wiring: Attention edges that do not exist in this model.
    """

    protocol: LatentProtocol | None = None
    wiring: tuple[Knockout, ...] = ()

    def save(self, folder: Path) -> None:
        """Write the manifest into a checkpoint folder."""
        plain = {
            "protocol": self.protocol and self.protocol.to_dict(),
            "wiring": [dataclasses.asdict(edge) for edge in self.wiring],
        }
        (folder / MANIFEST).write_text(json.dumps(plain, indent=2) + "\n")

    @classmethod
    def load(cls, folder: Path) -> Manifest:
        """Read a folder's manifest.

        Raises:
            ModelError: The file is not what `save` writes.
            ProtocolError: Its protocol is malformed.
            EditError: Its wiring names a span that does not exist.
        """
        path = folder / MANIFEST
        try:
            data = json.loads(path.read_text())
            protocol = data["protocol"]
            edges = [
                (str(k["target"]), str(k["source"]), _layers(k.get("layers")))
                for k in data["wiring"]
            ]
        except (ValueError, KeyError, TypeError) as fault:
            raise ModelError(
                f"{str(path)!r} is not a mindseye manifest ({fault!r}); expected JSON with "
                "'protocol' and 'wiring'. Mend it or take it away."
            ) from fault
        return cls(
            protocol=None if protocol is None else LatentProtocol.from_dict(protocol),
            wiring=tuple(Knockout(*edge) for edge in edges),
        )


def _layers(given: list[int] | None) -> tuple[int, ...] | None:
    return None if given is None else tuple(int(layer) for layer in given)
