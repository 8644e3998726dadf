"""What people are told of a rehearsal."""

from __future__ import annotations

from collections.abc import Iterable

from withstand.rehearsal.outcome import Outcome


def told(outcome: Outcome) -> str:
    """What was rehearsed, what failed, and what the real run still needs."""
    if not outcome.seconds:
        lines = [f"{outcome.study}: all of it was rehearsed with the studies before"]
    else:
        lines = [f"{outcome.study}: rehearsed in {outcome.seconds:.0f} s, in {outcome.folder}"]
        lines += _section("models", [f"{name}: {what}" for name, what in outcome.models.items()])
        lines += _section("images", [f"{name}: {what}" for name, what in outcome.datasets.items()])
        lines += _section("left out, and what stands for it", outcome.left_out)
        failed = outcome.failed + ([f"{outcome.unreached} jobs wait for these"] if outcome.unreached else [])
        lines += _section("failed", failed) if failed else ["  nothing failed"]
    return "\n".join([*lines, *_section("missing for the real run", outcome.missing)])


def promises() -> str:
    """What a rehearsal cannot tell."""
    return (
        "A rehearsal does not tell whether memory, GPUs and time suffice at full size; "
        "`withstand plan` estimates time and disk."
    )


def _section(title: str, lines: Iterable[str]) -> list[str]:
    lines = list(lines)
    return [f"  {title}:", *(f"    {line}" for line in lines)] if lines else []
