"""Fuzzes one target, guided by coverage: `python fuzz/campaign.py TARGET FOLDER [OPTION]...`.

What follows the target goes to libFuzzer; atheris is no dependency of the gate.
"""

from __future__ import annotations

import logging
import resource
import sys
from pathlib import Path

import atheris

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parent.parent)]
with atheris.instrument_imports(include=["gatekeeper", "zipfile", "pickletools", "yaml", "json"]):
    from seeds import SEEDS
    from targets import TARGETS

LIMITS = ["-timeout=10", "-rss_limit_mb=2048", "-malloc_limit_mb=1000000", "-max_len=8192"]
_MEMORY = 1 << 30  # bytes beyond what is taken at the start; the unpickler answers more by an error


def main() -> None:
    """Write the seeds beside what was found earlier, and fuzz."""
    _, target, corpus, *words = sys.argv
    folder = Path(corpus)
    folder.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(SEEDS[target]()):
        (folder / f"seed-{number}").write_bytes(seed)
    logging.disable()
    taken = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    bound = taken * resource.getpagesize() + _MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (bound, bound))
    atheris.Setup([sys.argv[0], *LIMITS, *words, corpus], TARGETS[target])
    atheris.Fuzz()


if __name__ == "__main__":
    main()
