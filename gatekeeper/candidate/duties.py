"""What a quarantine child may be asked for, beside parsing a file of some kind."""

from __future__ import annotations

LOOK = "look"  # at many files, one after another
RUN = "run"  # one ONNX graph, by onnxruntime
MOST_AT_ONCE = 3  # findings of a look that are told before its end, which may never come
