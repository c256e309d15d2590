"""Known attacks, to prove that the gate works: on data and models that the operator holds.

Nothing in a scan imports this package; only the demo, the tests and the benchmarks do.
"""

from gatekeeper.redteam.badnets import BadNets
from gatekeeper.redteam.success import attack_success

__all__ = ["BadNets", "attack_success"]
