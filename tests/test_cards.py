"""One GPU for each process: real locks and real processes, with made-up GPUs."""

import subprocess
import sys

import pytest

from withstand import cards

HOLD = """
import sys, time
from pathlib import Path
from withstand.cards import lease
print(lease(["GPU-a", "GPU-b"], Path(sys.argv[1])), flush=True)
time.sleep(60)
"""


def holder(folder) -> tuple[subprocess.Popen, int]:
    """A process that has a card, and the card's number."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(folder)], stdout=subprocess.PIPE, text=True)
    return process, int(process.stdout.readline())


@pytest.fixture
def no_leases(monkeypatch):
    monkeypatch.setattr(cards, "_HELD", {})


def test_every_process_has_a_card_of_its_own(tmp_path, capsys, no_leases):
    first, one = holder(tmp_path)
    second, other = holder(tmp_path)
    try:
        assert {one, other} == {0, 1}
        waits = []

        def sleep(seconds):
            waits.append(seconds)
            first.kill()  # a killed process has no card
            first.wait()

        assert cards.lease(["GPU-a", "GPU-b"], tmp_path, sleep) == one
        assert len(waits) == 1
        assert f"waiting for a GPU: other jobs have all 2 (locks in {tmp_path})" in capsys.readouterr().err
    finally:
        for process in (first, second):
            process.kill()
            process.wait()


def test_locks_are_of_cards_and_not_of_numbers(tmp_path, no_leases):
    """Who sees only the second card, as its first, takes it from those who see both."""
    assert cards.lease(["GPU-b"], tmp_path) == 0
    process, number = holder(tmp_path)
    process.kill()
    process.wait()
    assert number == 0, "GPU-a"


@pytest.mark.parametrize(
    ("visible", "count"), [(None, 3), ("0,2", 2), ("GPU-1234", 1), ("", 0), ("-1", 0), ("NoDevFiles", 0)]
)
def test_cards_are_counted_without_torch(tmp_path, monkeypatch, visible, count):
    for name in ("0000:01:00.0", "0000:02:00.0", "0000:03:00.0"):
        (tmp_path / "gpus" / name).mkdir(parents=True)
    monkeypatch.setattr(cards, "DRIVER", tmp_path)
    monkeypatch.delenv(cards.VISIBLE, raising=False)
    if visible is not None:
        monkeypatch.setenv(cards.VISIBLE, visible)
    assert cards.at_hand() == count
    monkeypatch.setattr(cards, "DRIVER", tmp_path / "no driver")
    assert cards.at_hand() == 0
