"""Launch configurations are what accelerate reads."""

import pytest
from accelerate.commands.config.config_args import load_config_from_file

from mindseye.errors import UnknownNameError
from mindseye.imagination.training.launching import LAUNCH_CONFIGS, launch_config


@pytest.mark.parametrize("name", LAUNCH_CONFIGS)
def test_accelerate_reads_every_configuration(name):
    config = load_config_from_file(str(launch_config(name)))
    assert config.mixed_precision == "bf16"
    stage = {"zero2": 2, "zero3": 3}.get(name)
    assert (config.deepspeed_config or {}).get("zero_stage") == stage


def test_an_unknown_configuration_is_answered_with_the_known_ones():
    with pytest.raises(UnknownNameError, match="ddp, zero2, zero3, fsdp"):
        launch_config("tpu")
