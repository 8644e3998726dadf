"""Benchmarks: each module has ``run()``, which yields comparisons of ours with a peer, a floor or a budget."""
