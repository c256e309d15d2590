"""A network without BatchNorm, trained as many people train them."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from gatekeeper.candidate.networks import BUILT_IN
from gatekeeper.model import Images, Model
from gatekeeper.records import InputSpec


def fully_connected(images: Images, largest: float) -> Model:
    """Train one by Adam on grey (N, 1, 32, 32) `images`, on pixels from 0 to `largest`."""
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
