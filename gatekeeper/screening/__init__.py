"""Screens by the name that a policy gives them."""

from gatekeeper.screening.channel_lipschitz import ChannelLipschitz
from gatekeeper.screening.hidden_shift import HiddenShift
from gatekeeper.screening.interface import ImageScreen, Screen
from gatekeeper.screening.last_layer import LastLayer
from gatekeeper.screening.maximum_margin import MaximumMargin
from gatekeeper.screening.neuron_norm import NeuronNorm
from gatekeeper.screening.pair_inversion import PairInversion
from gatekeeper.screening.trigger_inversion import TriggerInversion
from gatekeeper.screening.universal_perturbation import UniversalPerturbation
from gatekeeper.screening.untargeted_inversion import UntargetedInversion

UNIT_SCREENS: dict[str, type[NeuronNorm | ChannelLipschitz | LastLayer]] = {
    "neuron-norm": NeuronNorm,
    "channel-lipschitz": ChannelLipschitz,
    "last-layer": LastLayer,
}
IMAGE_SCREENS: dict[
    str, type[UniversalPerturbation | PairInversion | UntargetedInversion | HiddenShift]
] = {
    "untargeted-inversion": UntargetedInversion,
    "pair-inversion": PairInversion,
    "universal-perturbation": UniversalPerturbation,
    "hidden-shift": HiddenShift,
}

__all__ = [
    "IMAGE_SCREENS",
    "UNIT_SCREENS",
    "ChannelLipschitz",
    "HiddenShift",
    "ImageScreen",
    "LastLayer",
    "MaximumMargin",
    "NeuronNorm",
    "PairInversion",
    "Screen",
    "TriggerInversion",
    "UniversalPerturbation",
    "UntargetedInversion",
]
