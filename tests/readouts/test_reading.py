"""The plug-in point of readouts: declared, held to it, and found by name."""

import numpy as np
import pandas as pd
import pytest

from mindseye import plugins
from mindseye.errors import EditError, SampleError, UnknownNameError
from mindseye.plugins import find, names
from mindseye.readouts import find_readout, readout
from mindseye.tasks.digits import Digits

pytestmark = pytest.mark.model

BUILT_IN = ["answers", "attention", "lens", "probes", "similarity"]


@pytest.fixture(autouse=True)
def forget_offers(monkeypatch):
    monkeypatch.setattr(plugins, "_offers", dict(plugins._offers))


@pytest.fixture(scope="module")
def runs(organism):
    return [organism("bypass").run(sample) for sample in Digits().samples(20, seed=6)]


def rng():
    return np.random.default_rng(0)


def frame(found):
    return found if isinstance(found, pd.DataFrame) else found.to_frame()


def test_these_are_built_in():
    assert names("readout") == BUILT_IN


@pytest.mark.parametrize("name", BUILT_IN)
def test_a_built_in_readout_lacks_nothing(name):
    found = find("readout", name)
    assert found.summary
    assert found.control
    assert all(each.meaning for each in found.parameters)


@pytest.mark.parametrize(
    ("asked", "controls"),
    [
        ("answers", {"gold", "majority"}),
        ("attention", {"elsewhere"}),
        ("lens:top=2", {"others", "permuted"}),
        ("probes:layer=-1,permutations=3", {"baseline"}),
        ("similarity:permutations=3", {"population", "null"}),
    ],
)
def test_a_built_in_readout_brings_its_control_and_equal_draws_give_equal_rows(
    runs, asked, controls
):
    found, told = find_readout(asked)
    one, two = (frame(found(runs, rng=rng(), **told)) for _ in range(2))
    assert controls <= set(one)
    assert len(one)
    pd.testing.assert_frame_equal(one, two)


def test_parameters_are_told_in_text_or_in_python():
    _, told = find_readout("lens:kind=patchscopes,top=3")
    assert told == {"kind": "patchscopes", "top": 3}
    assert find_readout("lens", top=7)[1]["top"] == 7


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ("lenses", "Did you mean 'lens'"),
        ("lens:topp=3", "Did you mean 'top'"),
        ("lens:kind=x-ray", "expected one of logit, patchscopes"),
    ],
)
def test_what_cannot_be_found_says_what_there_is(asked, message):
    with pytest.raises((EditError, UnknownNameError), match=message):
        find_readout(asked)


def test_what_is_no_table_is_refused(runs):
    @readout("guest", control="nothing at all")
    def guest(traces, *, rng):
        return 3

    with pytest.raises(EditError, match="'guest' returned a int; expected a frame"):
        guest(runs, rng=rng())


def test_a_readout_without_a_control_is_refused():
    with pytest.raises(EditError, match="declares no control"):
        readout("guest", control=" ")


def test_no_runs_and_samples_that_lack_a_region_are_refused(organism):
    from dataclasses import replace

    found, told = find_readout("attention")
    with pytest.raises(SampleError, match="got no runs"):
        found([], rng=rng(), **told)
    bare = replace(Digits().samples(1)[0], regions={})
    run = organism("bypass").run(bare)
    with pytest.raises(SampleError, match="has no region 'target'"):
        found([run], rng=rng(), **told)
