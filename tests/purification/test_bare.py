"""`auto` on networks without BatchNorm, trained as many people train them."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from test_promises import accuracy, auto

from gatekeeper.candidate.networks import BUILT_IN
from gatekeeper.model import Images, Model
from gatekeeper.records import InputSpec
from gatekeeper.redteam import Attack, BadNets, Blended, attack_success


def trained(images: Images, largest: float) -> Model:
    """A fully connected network by Adam, on pixels from 0 to `largest`."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        size, classes = (1, 32, 32), images.classes
        model = Model(
            network=BUILT_IN["gatekeeper:mlp"](*size, len(classes)), classes=classes,
            input=InputSpec(size=size, mean=(0.0,), std=(1 / largest,)), architecture="mlp",
        )  # fmt: skip
        view = model.pixels_to_logits().train()
        optimiser = torch.optim.Adam(view.parameters(), lr=1e-3)
        for _ in range(20):
            for batch in torch.randperm(len(images)).split(32):
                loss = F.cross_entropy(view(images.select(batch).floats()), images.labels[batch])
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
        model.network.eval()
    return model


@pytest.mark.slow
@pytest.mark.parametrize("largest", [1.0, 255.0])
@pytest.mark.parametrize("attack", [BadNets(target=0), Blended(target=0)], ids=["patch", "blended"])
def test_auto_finds_a_step_that_fits(
    attack: Attack, largest: float, train_digits: Images, held_out: Images
) -> None:
    """What lives in weights that clean images hardly use is gone, and no skill with it."""
    victim = trained(attack.poison(train_digits, seed=0), largest)
    clean, unseen = held_out.select(torch.arange(500)), held_out.select(torch.arange(500, 897))
    assert attack_success(victim, attack, unseen) > 0.9
    purified, told = auto(victim, clean)
    assert purified is not None, told.stopped_because
    assert attack_success(purified, attack, unseen) <= 0.1
    assert accuracy(purified, unseen) >= accuracy(victim, unseen) - 0.02
