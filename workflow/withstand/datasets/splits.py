"""How many samples each split of a generated source has.

Apart from the sources themselves: another split, or a larger one, changes no sample that was there.
"""

SHAPETEX = {"train": 200_000, "validation": 10_000, "test": 10_000, "pool": 100_000}
