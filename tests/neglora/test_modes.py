import pytest
from torch import nn

from neglora.modes import in_mode


@pytest.mark.parametrize("training", [True, False])
def test_modes_that_differ_within_a_model_are_restored(training):
    model = nn.Sequential(nn.Linear(2, 2), nn.Sequential(nn.BatchNorm1d(2), nn.Dropout()))
    model.train(training)
    model[1].train(not training)
    model[1][0].train(training)
    before = [module.training for module in model.modules()]
    with in_mode(model, training=not training):
        assert {module.training for module in model.modules()} == {not training}
    assert [module.training for module in model.modules()] == before
    with pytest.raises(KeyError), in_mode(model, training=training):
        raise KeyError
    assert [module.training for module in model.modules()] == before
