#!/usr/bin/env bash
# Snakemake runs a copy of this in the new environment, from the folder that itself was started in.
set -euo pipefail
if [ ! -f requirements.lock ]; then
    echo "no requirements.lock in $PWD: --sdm conda works in the folder of withstand" >&2
    exit 1
fi
# the environment's own Python, whatever else is in PATH
"$CONDA_PREFIX/bin/python" -m pip install --quiet --require-hashes --requirement requirements.lock
"$CONDA_PREFIX/bin/python" -m pip install --quiet --no-deps --no-build-isolation --editable .
