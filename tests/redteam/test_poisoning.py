"""What an attack does to training data: every class can still be learnt, or it convinces nobody."""

from __future__ import annotations

import pytest
import torch

from gatekeeper.model import Images
from gatekeeper.redteam import SIG, LabelConsistent, SourceSpecific, Stamped


@pytest.mark.parametrize("attack", [SIG(), LabelConsistent(), SourceSpecific()])
@pytest.mark.parametrize("rate", [0.01, 0.10, 0.5])
def test_an_attack_on_one_class_leaves_half_of_it_as_it_was(
    attack: Stamped, rate: float, digits: Images
) -> None:
    attack = type(attack)(rate=rate)
    own = digits.labels == getattr(attack, "source", attack.target)
    poisoned = attack.poison(digits, seed=0)
    changed = (poisoned.pixels != digits.pixels).flatten(1).any(1) & own
    wanted = min(round(rate * len(digits)), int(own.sum()) // 2)
    assert int(changed.sum()) == wanted
    assert torch.equal(poisoned.labels[own & ~changed], digits.labels[own & ~changed])
