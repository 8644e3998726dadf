"""What a source of images can be asked. Every kind answers everything; what only some can tell has a default here.

A source is asked twice: by a study, before any file is opened (:class:`Source`), and by the steps that read samples
(:class:`ReadableSource`). Generated kinds are both; kinds in files become samples by the index of what a scan found
(see ``datasets.files``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from withstand.subsets import Subset

if TYPE_CHECKING:
    from PIL import Image

    from withstand.datasets.archives import Archive


class Source:
    """Where the images of one dataset come from, as far as that is known before any file is opened.

    Attributes:
        is_generated: whether samples are drawn from their ids, rather than read from files.
        is_cue_conflict: whether samples have a second label, that of their texture.
    """

    is_generated = False
    is_cue_conflict = False

    def label_space(self) -> str:
        """The name of the label space: what the outputs of models mean."""
        raise NotImplementedError

    def outputs(self) -> int:
        """Number of outputs of the label space."""
        raise NotImplementedError

    def available(self) -> int | None:
        """How many samples there are; None if only the files know."""
        return None

    def native_size(self) -> int | None:
        """Height and width of the images in pixels, if all have the same; None if not, or if only the files know."""
        return None

    def own_classes(self) -> Sequence[str] | None:
        """The classes that the config lists for a label space of the user's own; None for a known label space."""
        return None

    def categories(self) -> list[list[int]] | None:
        """The outputs of each class, where a class stands for several; None where it stands for one."""
        return None

    def inputs(self) -> list[str]:
        """The files that must be there before samples can be read; none for generated images."""
        return []

    def downloads(self) -> Mapping[str, Archive]:
        """The archives to download, by the path at which each is kept; none where the user says where files lie."""
        return {}

    def foreground(self, sample_id: str) -> np.ndarray | None:
        """The share of each pixel that the object covers: float32 (height, width), 0 to 1; None where it is unknown."""
        return None


class ReadableSource(Source):
    """A source whose samples can be read."""

    def sample_ids(self, count: int) -> list[str]:
        """The first ``count`` sample ids in the source's own order; fewer if it has fewer."""
        raise NotImplementedError

    def chosen(self, count: int, seed: int | None = None) -> list[str]:
        """The ids of ``count`` samples: the first ones, or, with a seed, a random choice in random order.

        A larger count adds samples and changes none.
        """
        if seed is None:
            return self.sample_ids(count)
        ids = self.sample_ids(self.available())
        return [ids[position] for position in Subset(count, seed).shuffled(ids)]

    def class_names(self) -> list[str]:
        """A name for each output of the label space, or for each class where it stands for several outputs."""
        raise NotImplementedError

    def subset(self) -> list[int]:
        """The classes that occur, in ascending order: indices into ``class_names``; all by default."""
        return list(range(len(self.class_names())))

    def labels(self, sample_ids: Sequence[str]) -> np.ndarray:
        """int64 (n): the label of each sample, an index into ``class_names``; for cue conflict that of its shape."""
        raise NotImplementedError

    def texture_labels(self, sample_ids: Sequence[str]) -> np.ndarray | None:
        """int64 (n): for cue conflict, the label of each sample's texture; None for all other sets."""
        return None

    def read(self, sample_id: str) -> np.ndarray:
        """The image of a sample: uint8 (height, width, 3), RGB."""
        raise NotImplementedError

    def picture(self, sample_id: str) -> Image.Image:
        """The same image as Pillow's."""
        from PIL import Image

        return Image.fromarray(self.read(sample_id))


class Generated(ReadableSource):
    """Images that are drawn, each from its sample id alone. Looking at such a source must be light."""

    is_generated = True

    def outputs(self) -> int:
        return len(self.class_names())
