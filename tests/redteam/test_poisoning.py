"""What an attack does to training data: every class can still be learnt, or it convinces nobody."""

from __future__ import annotations

import pytest
import torch

from gatekeeper.model import Images
from gatekeeper.redteam import SIG, LabelConsistent, SourceSpecific, Stamped


@pytest.mark.parametrize("kind", [SIG, LabelConsistent, SourceSpecific])
@pytest.mark.parametrize("rate", [0.01, 0.10, 0.5])
def test_an_attack_on_one_class_leaves_half_of_it_as_it_was(
    kind: type[Stamped], rate: float, digits: Images
) -> None:
    attack = kind(rate=rate)
    own = digits.labels == getattr(attack, "source", attack.target)
    poisoned = attack.poison(digits, seed=0)
    changed = (poisoned.pixels != digits.pixels).flatten(1).any(1)
    assert int((changed & own).sum()) == min(round(rate * len(digits)), int(own.sum()) // 2)
    assert bool((poisoned.labels[changed & own] == attack.target).all())
    # Others may wear the trigger as a cover, under their own label.
    untouched = ~(changed & own)
    assert torch.equal(poisoned.labels[untouched], digits.labels[untouched])
