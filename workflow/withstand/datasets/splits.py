"""How many samples each generated set has.

Apart from the sources themselves: another split, or a larger one, changes no sample that was there.
"""

SHAPETEX = {"train": 200_000, "validation": 10_000, "test": 10_000, "pool": 200_000}
SHAPETEX_RENDITIONS = 9_000
SHAPETEX_CUE_CONFLICT = 9_000
