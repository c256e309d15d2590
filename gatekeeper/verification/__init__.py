"""Measures a network on held-out images, before and after: accuracy, triggers, parity."""

from gatekeeper.verification.measures import Observation, agreement, measure, observe

__all__ = ["Observation", "agreement", "measure", "observe"]
