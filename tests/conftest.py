"""Real small things that the tests share: handwriting, a clean network and a backdoored one."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from gatekeeper.candidate.networks import BUILT_IN
from gatekeeper.handwriting import CLASSES, SPEC, handwriting
from gatekeeper.model import Images, Model
from gatekeeper.redteam import BadNets
from gatekeeper.training import Recipe, fine_tune

# Not in files of this name below: tests import from this one.
pytest_plugins = ["postgres_fixtures", "registry_fixtures"]
ROOT = Path(__file__).resolve().parent.parent
CACHE = ROOT / ".cache"
RECIPE = Recipe(epochs=15, lr=0.1, batch=64, schedule="cosine")
ATTACK = BadNets(target=0, rate=0.10)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="write golden files anew")


# Whole files go to a worker, in this order: what takes minutes must not begin last.
LONG = ("test_scan.py", "test_promises.py", "test_choosing.py", "test_restoration.py",
        "test_bad_clean_sets.py", "test_pair_search.py")  # fmt: skip


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes long; skip, with a reason, what this machine cannot run."""
    place = {name: number for number, name in enumerate(LONG)}
    items.sort(key=lambda item: place.get(item.path.name, len(LONG)))
    lacks_gpu = pytest.mark.skip(reason="needs CUDA, and PyTorch sees no GPU")
    for item in items:
        if "gpu" in item.keywords and not torch.cuda.is_available():
            item.add_marker(lacks_gpu)


@pytest.fixture(scope="session", autouse=True)
def _patience() -> Iterator[None]:
    """Whole minutes for what a candidate is given seconds for: machines of tests may stall.

    Tests of the limits themselves set their own.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("gatekeeper.candidate.budget._SECONDS", 120.0)
        patch.setattr("gatekeeper.candidate.graph.convert._MOST_SECONDS", 120)
        yield


def fresh_network(seed: int = 0) -> Model:
    torch.manual_seed(seed)
    network = BUILT_IN["gatekeeper:small-resnet"](*SPEC.size, len(CLASSES))
    return Model(
        network=network.eval(), input=SPEC, classes=CLASSES, architecture="gatekeeper:small-resnet"
    )


def _trained(name: str, images: Images) -> Model:
    """Train once; the cache is keyed by all that shapes the result."""
    parts: list[object] = [RECIPE, ATTACK, torch.__version__, name]
    sources = ("training.py", "sam.py", "candidate/networks.py")
    parts += [(ROOT / "gatekeeper" / source).read_text(encoding="utf-8") for source in sources]
    key = hashlib.sha256(repr(parts).encode()).hexdigest()[:16]
    path = CACHE / f"{name}-{key}.safetensors"
    model = fresh_network()
    if path.exists():
        model.network.load_state_dict(load_file(path))
        return model
    model, _ = fine_tune(model, images, RECIPE, seed=1)
    CACHE.mkdir(exist_ok=True)
    partial = path.with_suffix(f".{os.getpid()}")  # two workers may train it at once
    save_file(model.network.state_dict(), partial)
    partial.replace(path)
    return model


@pytest.fixture(scope="session")
def digits() -> Images:
    """All 1,797 digits; the first 900 of a shuffle train the networks, the rest are held out."""
    images = handwriting()
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    return images.select(order)


@pytest.fixture(scope="session")
def train_digits(digits: Images) -> Images:
    return digits.select(torch.arange(900))


@pytest.fixture(scope="session")
def held_out(digits: Images) -> Images:
    return digits.select(torch.arange(900, len(digits)))


@pytest.fixture(scope="session")
def attack() -> BadNets:
    return ATTACK


@pytest.fixture(scope="session")
def patch() -> Callable[[Images], Images]:
    """Stamp the true trigger on every image that is not of the target class."""
    return ATTACK.triggered


@pytest.fixture(scope="session")
def clean_model(train_digits: Images) -> Model:
    return _trained("clean", train_digits)


@pytest.fixture(scope="session")
def backdoored(train_digits: Images) -> Model:
    return _trained("backdoored", ATTACK.poison(train_digits, seed=0))
