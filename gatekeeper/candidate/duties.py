"""What a quarantine child may be asked for, beside parsing a file of some kind."""

from __future__ import annotations

LOOK = "look"  # at many files, one after another
RUN = "run"  # one ONNX graph, by onnxruntime
