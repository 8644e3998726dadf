import threading
import time

import pytest
from click.testing import CliRunner

from withstand.cli import main
from withstand.prefetch import prefetch
from withstand.progress import progress


def invoke(*arguments):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.mark.parametrize("command", sorted(main.commands))
def test_every_command_explains_itself(command):
    result = invoke(command, "--help")
    assert result.exit_code == 0
    assert len(result.output.split("Options:")[0].split("\n\n")[1].strip()) > 20


def test_check_says_what_a_study_runs(tmp_path):
    result = invoke("check", "config.yaml")
    assert result.exit_code == 0
    assert "study 'demo', 6 models on 5 image sets" in result.output
    (tmp_path / "bad.yaml").write_text("study: x\nmodles: {}\n")
    result = invoke("check", tmp_path / "bad.yaml")
    assert result.exit_code == 1
    assert "config: modles: unknown key; did you mean 'models'?" in result.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["predict", "[]", "--card", "none.json"], "'none.json' does not exist"),
        (
            ["predict", '[{"images": []}]', "--card", "config.yaml"],
            "an image set needs dataset, family,",
        ),
        (["prepare-images", "--source", "{", "--samples", "0:5"], "not JSON"),
        (["prepare-images", "--source", "{}", "--samples", "5:5"], "'5:5' is not start:stop"),
        (["fetch-weights", "-o", "x"], "give one of --zoo, --timm and --url"),
        (["publish", "config.yaml", "./config.yaml"], "two of the files would become 'config'"),
    ],
)
def test_wrong_arguments_are_told(arguments, message):
    result = invoke(*arguments)
    assert result.exit_code == 2
    assert message in result.output


def test_an_error_is_a_line_without_traceback(tmp_path):
    (tmp_path / "bad.h5").write_bytes(b"text")
    result = invoke("corrupt-images", tmp_path / "bad.h5", "--corruptions", "[]", "-o", tmp_path / "out.h5")
    assert result.exit_code == 1
    assert result.output.startswith("Error: ")
    assert "bad.h5: not a readable HDF5 file" in result.output
    assert len(result.output.splitlines()) == 1


def test_prefetch_keeps_order_and_reads_ahead():
    made = []

    def items():
        for number in range(10):
            made.append(number)
            yield number

    consumed = prefetch(items(), depth=3)
    assert next(consumed) == 0
    time.sleep(0.3)
    assert 4 <= len(made) <= 6  # three ready, one in hand, one being made
    assert list(consumed) == list(range(1, 10))


def test_prefetch_raises_the_producers_error():
    def items():
        yield 1
        raise OSError("disk gone")

    consumed = prefetch(items())
    assert next(consumed) == 1
    with pytest.raises(OSError, match="disk gone"):
        next(consumed)


def test_prefetch_stops_with_its_consumer():
    consumed = prefetch(iter(range(1000)))
    next(consumed)
    consumed.close()
    assert not [thread for thread in threading.enumerate() if thread.name == "prefetch"]


def test_progress_in_a_log_is_sparse(capsys):
    with progress(1000, "work", "images") as advance:
        for _ in range(1000):
            advance(1)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("work: 1,000/1,000 images")


def test_selftest_without_results_names_the_studies_to_run(tmp_path):
    result = CliRunner().invoke(main, ["selftest", "--results", str(tmp_path)])
    assert result.exit_code == 1
    assert "nothing was tested" in result.output
    assert "--configfile studies/selftest-vit.yaml" in result.output
    assert result.output.count("not run") == 30
