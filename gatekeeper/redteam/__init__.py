"""Known attacks, to prove that the gate works: on data and models that the operator holds.

Nothing in a scan imports this package; only the demo, the tests and the benchmarks do.
"""

from gatekeeper.redteam.adaptive import Adaptive
from gatekeeper.redteam.badnets import AllToAll, BadNets, SourceSpecific
from gatekeeper.redteam.implanting import implant
from gatekeeper.redteam.input_aware import InputAware
from gatekeeper.redteam.interface import Attack
from gatekeeper.redteam.overlays import SIG, Blended, LowFrequency
from gatekeeper.redteam.shaped import LabelConsistent, TrojanPatch
from gatekeeper.redteam.stamped import Stamped
from gatekeeper.redteam.success import attack_success, robust_accuracy
from gatekeeper.redteam.wanet import WaNet

ATTACKS: dict[str, type[Stamped]] = {
    "badnets": BadNets,
    "badnets-all-to-all": AllToAll,
    "badnets-source": SourceSpecific,
    "blended": Blended,
    "sig": SIG,
    "low-frequency": LowFrequency,
    "trojan": TrojanPatch,
    "wanet": WaNet,
    "input-aware": InputAware,
    "label-consistent": LabelConsistent,
    "adaptive": Adaptive,
}

__all__ = [
    "ATTACKS",
    "SIG",
    "Adaptive",
    "AllToAll",
    "Attack",
    "BadNets",
    "Blended",
    "InputAware",
    "LabelConsistent",
    "LowFrequency",
    "SourceSpecific",
    "Stamped",
    "TrojanPatch",
    "WaNet",
    "attack_success",
    "implant",
    "robust_accuracy",
]
