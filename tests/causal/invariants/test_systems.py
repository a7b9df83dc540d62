"""What the invariants are checked on: double precision is stock, and weights do vary."""

import pytest
import torch

from tests.causal.invariants.systems import MODEL_TYPES, dozen, model
from tests.tiny import tiny

pytestmark = pytest.mark.model


@pytest.mark.parametrize("model_type", MODEL_TYPES)
def test_a_model_in_double_is_the_stock_one_but_for_rounding(model_type):
    stock = tiny(model_type, seed=3, vocab=24)
    given = stock.inputs(seed=5)
    doubled = {k: v.double() if v.is_floating_point() else v for k, v in given.items()}
    with torch.no_grad():
        single = stock.model(**given).logits
        double = model(model_type, 3).model(**doubled).logits
    assert double.dtype == torch.float64
    torch.testing.assert_close(double, single.double(), atol=1e-3, rtol=1e-4)


def test_the_dozen_has_twelve_different_models():
    tables = {
        model(each.model_type, each.weights).model.get_input_embeddings().weight.sum().item()
        for each in dozen()
    }
    assert len(tables) == 12
