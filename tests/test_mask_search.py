"""Masks that are learnt side by side learn what each would learn alone."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from gatekeeper.mask_search import MaskSearch, Pace, blend

PACE = Pace(
    lr=0.2, slowing=0.5, wanted=0.5, plenty=0.9, cheaper=0.8, dearer=1.25, memory=0.5
)  # fmt: skip


def search(count: int) -> tuple[MaskSearch, Tensor]:
    torch.manual_seed(0)
    view = nn.Sequential(nn.Flatten(), nn.Linear(16, 3)).requires_grad_(False)
    generator = torch.Generator().manual_seed(0)
    device = torch.device("cpu")
    found = MaskSearch(view, count, (1, 4, 4), generator, PACE, price=1.0, device=device)
    return found, torch.rand(5, 1, 4, 4, generator=generator)


def towards_one(answer: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
    """Class 1 is wanted by every mask."""
    assert answer.shape[0] == len(k)
    return -answer.log_softmax(2)[:, :, 1].mean(1), (answer.argmax(2) == 1).float().mean(1)


def test_following_some_masks_changes_nothing_for_them() -> None:
    whole, pixels = search(6)
    part, _ = search(6)
    kept = torch.tensor([1, 4])
    for step in range(12):
        for one in (whole, part):
            one.step(lambda _: pixels, towards_one, progress=step / 12)
        if step == 5:
            part.keep(kept)
    torch.testing.assert_close(part.masks(), whole.masks()[kept])
    torch.testing.assert_close(part.price, whole.price[kept])
    torch.testing.assert_close(part.areas(), whole.areas()[kept])


def test_groups_learn_what_all_at_once_learn(monkeypatch: pytest.MonkeyPatch) -> None:
    whole, pixels = search(4)
    whole.step(lambda _: pixels, towards_one, progress=0.0)
    monkeypatch.setattr("gatekeeper.mask_search.LEARNT_AT_ONCE", 1)
    apart, _ = search(4)
    apart.step(lambda _: pixels, towards_one, progress=0.0)
    torch.testing.assert_close(whole.masks(), apart.masks(), atol=1e-5, rtol=1e-4)


def test_a_mask_that_is_obeyed_pays_more_for_its_area() -> None:
    found, pixels = search(2)

    def judge(answer: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
        obeyed = torch.tensor([1.0, 0.0])[k]
        return answer.mean((1, 2)), obeyed

    for _ in range(8):
        found.step(lambda _: pixels, judge, progress=0.0)
    assert float(found.price[0]) > 1 > float(found.price[1])


def test_every_image_meets_every_trigger() -> None:
    pixels = torch.zeros(2, 1, 3, 3)
    mask, pattern = torch.ones(3, 1, 3, 3), torch.arange(3).view(3, 1, 1, 1).expand(3, 1, 3, 3)
    shown = blend(pixels, mask, pattern.float())
    assert shown.shape == (6, 1, 3, 3)
    assert shown.mean((1, 2, 3)).tolist() == [0, 0, 1, 1, 2, 2]
    own = torch.zeros(3, 2, 1, 3, 3)
    assert torch.equal(blend(own, mask, pattern.float()), shown)
