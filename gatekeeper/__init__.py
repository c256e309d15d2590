"""Gatekeeper: a gate for image classifiers that somebody else trained.

The path, in seven lines:

1. `steps.read`: digest the file, walk its pickles against an allow-list, parse it in quarantine.
2. `steps.screen`: norms of every unit, rows of every class, the smallest trigger of every class.
3. `steps.purify`: FT-SAM on clean images, its setting chosen by what a defender can see.
4. `steps.verify`: accuracy, recall and recovered triggers, before and after, on held-out images.
5. `steps.export`: ONNX of what could be deployed, compared with torch on real images.
6. `steps.conclude`: `verdict.judge` holds it all against the policy; `record.json` keeps it.
7. `report.render`: HTML, SARIF, JUnit, Markdown, text and JSON, each a function of the record.

A whole scan:

    from gatekeeper.job import Job
    from gatekeeper.pipeline import run

    record = run(Job(model="model.pt", data="clean-images", out="run"))
    print(record.verdict.decision, record.outputs.onnx)
"""

import os

# ONNX Runtime reports its use to its maker, from C++, unless this is set before it loads.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

__version__ = "0.1.0"
