"""A study of one model, whose run takes half a minute."""

from __future__ import annotations

TINY = {
    "study": "small",
    "models": {"vit": {"zoo": "vit_p16_base"}},
    "datasets": {"test": {"source": {"kind": "shapetex", "split": "test"}, "samples": 20, "families": ["digital"]}},
    "families": {"digital": {"corruptions": ["contrast"], "severities": [1, 5]}},
    "images": {"size": 64},
    "figures": {"dpi": 50},
}

TABLES = [f"results/small/tables/{name}.parquet" for name in ("accuracy", "failures", "models")]
"""What is asked for: no figures, which take longer than all else."""
