"""The 16 categories of 16-class-ImageNet (Geirhos et al., "Generalisation in humans and deep neural networks",
NeurIPS 2018), and the outputs of ImageNet-1k that each stands for: 207 of them."""


def _outputs(text: str) -> tuple[int, ...]:
    """``8 10-16`` as numbers."""
    spans = (part.partition("-") for part in text.split())
    return tuple(number for first, _, last in spans for number in range(int(first), int(last or first) + 1))


CATEGORIES = {
    "airplane": _outputs("404"),
    "bear": _outputs("294-297"),
    "bicycle": _outputs("444 671"),
    "bird": _outputs("8 10-16 18-20 22-24 80-83 87-96 98-100 127-133 135-145"),
    "boat": _outputs("472 554 625 814 914"),
    "bottle": _outputs("440 720 737 898 899 901 907"),
    "car": _outputs("436 511 817"),
    "cat": _outputs("281-286"),
    "chair": _outputs("423 559 765 857"),
    "clock": _outputs("409 530 892"),
    "dog": _outputs("152-191 193-203 205-226 228-241 243-250 252-257 259 261-263 265-268"),
    "elephant": _outputs("385 386"),
    "keyboard": _outputs("508 878"),
    "knife": _outputs("499"),
    "oven": _outputs("766"),
    "truck": _outputs("555 569 656 675 717 734 864 867"),
}
