"""What a quarantine child may be asked for, beside parsing a file of some kind."""

from __future__ import annotations

# All that a child has of one: libraries shall start no threads and report nothing, and Python and
# this package add nothing of their own.
ENVIRONMENT = {
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "ORT_DISABLE_TELEMETRY": "1",
    "LC_CTYPE": "C.UTF-8",
}
LOOK = "look"  # at many files, one after another
RUN = "run"  # one ONNX graph, by onnxruntime
MOST_AT_ONCE = 3  # findings of a look that are told before its end, which may never come
FILES_AT_ONCE = 12  # that a child is shown; each is a descriptor, of which it may have 24
