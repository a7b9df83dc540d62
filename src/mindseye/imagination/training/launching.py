"""Files for `accelerate launch`, by name."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from mindseye.errors import UnknownNameError

__all__ = ["LAUNCH_CONFIGS", "launch_config"]

LAUNCH_CONFIGS = ("ddp", "zero2", "zero3", "fsdp")


def launch_config(name: str) -> Path:
    """Return the path of a launch configuration: `accelerate launch --config_file PATH ...`.

    Raises:
        UnknownNameError: There is none of that name.
    """
    if name not in LAUNCH_CONFIGS:
        raise UnknownNameError(
            f"No launch configuration {name!r}; there are {', '.join(LAUNCH_CONFIGS)}. Choose one "
            "of these, or write your own with `accelerate config`."
        )
    return Path(str(files("mindseye.imagination.training"))) / "configs" / f"{name}.yaml"
