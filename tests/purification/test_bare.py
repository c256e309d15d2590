"""`auto` on networks without BatchNorm, trained as many people train them."""

from __future__ import annotations

import pytest
import torch
from bare_victims import fully_connected
from test_promises import accuracy, auto

from gatekeeper.model import Images
from gatekeeper.redteam import BadNets, attack_success


@pytest.mark.slow
@pytest.mark.parametrize("largest", [1.0, 255.0])
def test_auto_finds_a_step_that_fits(
    largest: float, train_digits: Images, held_out: Images
) -> None:
    """A patch is gone, and no skill with it (other triggers: docs/benchmarks.md)."""
    attack = BadNets(target=0)
    victim = fully_connected(attack.poison(train_digits, seed=0), largest)
    clean, unseen = held_out.select(torch.arange(500)), held_out.select(torch.arange(500, 897))
    assert attack_success(victim, attack, unseen) > 0.9
    purified, told = auto(victim, clean)
    assert purified is not None, told.stopped_because
    assert attack_success(purified, attack, unseen) <= 0.1
    assert accuracy(purified, unseen) >= accuracy(victim, unseen) - 0.02
