"""Masks are learnt on what room a GPU has, or it is told that there is none."""

from __future__ import annotations

import pytest
import torch
from test_taught_masking import SHORT, one_each

from gatekeeper.errors import StepError
from gatekeeper.model import Images, Model
from gatekeeper.purification import WeightMasking
from gatekeeper.purification.interface import Purifier
from gatekeeper.purification.masks import Masks

METHODS = (SHORT, WeightMasking(rounds=1, passes=1, batch=16))


def full_until(batch: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A GPU with room for batches of less than `batch`; no test machine need have one."""
    answer = Masks.answer

    def limited(self: Masks, pixels: torch.Tensor) -> torch.Tensor:
        if len(pixels) >= batch:
            raise torch.cuda.OutOfMemoryError
        return answer(self, pixels)

    monkeypatch.setattr(Masks, "answer", limited)


@pytest.mark.parametrize("purify", METHODS, ids=lambda one: one.method)
def test_where_a_batch_has_no_room_half_of_it_may(
    purify: Purifier, backdoored: Model, held_out: Images, monkeypatch: pytest.MonkeyPatch
) -> None:
    clean = one_each(held_out) if purify is SHORT else held_out.select(torch.arange(40))
    full_until(32 if purify is SHORT else 16, monkeypatch)
    _, told = purify(backdoored, clean, seed=0)
    assert told.settings["batch"] == 8
    assert told.attempts[0].message.endswith("out of memory, so the batch was halved to 8")


@pytest.mark.parametrize("purify", METHODS, ids=lambda one: one.method)
def test_no_room_at_all_is_a_clear_error(
    purify: Purifier, backdoored: Model, held_out: Images, monkeypatch: pytest.MonkeyPatch
) -> None:
    full_until(1, monkeypatch)
    with pytest.raises(StepError, match="no room to learn masks on batches of 8"):
        purify(backdoored, held_out, seed=0)
