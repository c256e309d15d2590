"""Measures a network on held-out images, before and after: accuracy, triggers, parity."""

from gatekeeper.verification.measures import Observation, accuracies, agreement, measure, observe

__all__ = ["Observation", "accuracies", "agreement", "measure", "observe"]
