"""Screens by the name that a policy gives them."""

from gatekeeper.screening.channel_lipschitz import ChannelLipschitz
from gatekeeper.screening.interface import Screen
from gatekeeper.screening.last_layer import LastLayer
from gatekeeper.screening.maximum_margin import MaximumMargin
from gatekeeper.screening.neuron_norm import NeuronNorm

SCREENS: dict[str, type[NeuronNorm | ChannelLipschitz | LastLayer | MaximumMargin]] = {
    "neuron-norm": NeuronNorm,
    "channel-lipschitz": ChannelLipschitz,
    "last-layer": LastLayer,
    "maximum-margin": MaximumMargin,
}

__all__ = ["SCREENS", "ChannelLipschitz", "LastLayer", "MaximumMargin", "NeuronNorm", "Screen"]
