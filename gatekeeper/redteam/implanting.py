"""Plants an attack: prepares it, poisons the data, trains, and gives the victim."""

from __future__ import annotations

from gatekeeper.model import Images, Model
from gatekeeper.redteam.interface import Attack, NeedsSurrogate, Surrogate, TrainsItself
from gatekeeper.training import Recipe, fine_tune


def implant(
    attack: Attack,
    fresh: Model,
    images: Images,
    recipe: Recipe,
    *,
    seed: int,
    surrogate: Surrogate | None = None,
) -> tuple[Model, Attack]:
    """Train a copy of `fresh` with `attack` planted in it; give both, ready to be triggered.

    Args:
        attack: what to plant.
        fresh: an untrained network.
        images: clean training images.
        recipe: how to train.
        seed: of the draw of poisoned images and of the training.
        surrogate: gives a clean network for attacks that need one; trained here where left out.
    """
    if isinstance(attack, NeedsSurrogate):
        clean = surrogate() if surrogate else fine_tune(fresh, images, recipe, seed=seed)[0]
        attack = attack.prepare(clean, images, seed=seed)
    if isinstance(attack, TrainsItself):
        return attack.implant(fresh, images, recipe, seed=seed)
    victim, _ = fine_tune(fresh, attack.poison(images, seed=seed), recipe, seed=seed)
    return victim, attack
