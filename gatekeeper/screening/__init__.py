"""Screens by the name that a policy gives them."""

from gatekeeper.screening.interface import Screen
from gatekeeper.screening.last_layer import LastLayer
from gatekeeper.screening.neuron_norm import NeuronNorm

SCREENS: dict[str, type[NeuronNorm] | type[LastLayer]] = {
    "neuron-norm": NeuronNorm,
    "last-layer": LastLayer,
}

__all__ = ["SCREENS", "LastLayer", "NeuronNorm", "Screen"]
