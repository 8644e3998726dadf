"""What matters on a GPU, in minutes: results against the CPU's, then speeds; ``python -m benchmarks.gpu_check``.

It runs from a bare checkout, without a network: whatever is missing is named first. Each check has a time limit of its
own, and each of its rows is written as soon as it is known.
"""
