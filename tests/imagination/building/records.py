"""Records in every layout, and pictures beside them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from mindseye.imagination.building import Request


def paint(folder: Path, name: str, seed: int = 0) -> str:
    """Draw a picture of noise into a folder, and return its name."""
    file = folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(0, 256, (24, 32, 3), np.uint8)
    Image.fromarray(noise).save(file)
    return name


def monet(
    name: str,
    image: str,
    helper: str,
    *,
    source: str = "Visual_CoT",
    question: str | None = None,
    last: str = r"So it is red. The answer is \boxed{red}.",
) -> dict[str, Any]:
    """A record as Monet-SFT-125K has them."""
    asked = question or f"What is in picture {name}?"
    content = [{"type": "image", "image": image}, {"type": "text", "text": asked}]
    steps = [
        {"type": "text", "text": "I look closer. <abs_vis_token></abs_vis_token>"},
        {"type": "image", "image": helper},
        {"type": "text", "text": last},
    ]
    return {
        "data": [
            {"role": "system", "content": [{"type": "text", "text": "You are helpful."}]},
            {"role": "user", "content": content},
            {"role": "assistant", "content": steps},
        ],
        "metadata": {"dataset_name": source, "sample_id": name},
    }


def monet_file(folder: Path, n: int) -> Path:
    """Write `n` records of two sources, a line each, with their pictures."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = []
    for i in range(n):
        image = paint(folder, f"images/{i}.png", i)
        helper = paint(folder, f"images/{i}-helper.png", 1000 + i)
        source = ("Visual_CoT", "ReFocus")[i % 2]
        lines.append(json.dumps(monet(str(i), image, helper, source=source)))
    file = folder / "train.jsonl"
    file.write_text("\n".join(lines) + "\n")
    return file


class Fake:
    """An asker in memory that says what a function returns or raises."""

    def __init__(self, say: Any, name: str = "fake") -> None:
        self._say = say
        self._name = name
        self.asked: list[Request] = []

    @property
    def name(self) -> str:
        return self._name

    def ask(self, request: Request) -> Any:
        self.asked.append(request)
        return self._say(request)
