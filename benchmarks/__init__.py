"""Benchmarks: each module has ``run()``, which yields comparisons of ours with a peer, a floor or a budget."""

import sys
from pathlib import Path

# what tests share import one another by their names alone, as pytest lets them
sys.path.append(str(Path(__file__).parents[1] / "tests"))
