"""The gallery of finished studies: what it shows, and that what it shows is there."""

import json
import re
import shutil
from html.parser import HTMLParser

import pytest
from click.testing import CliRunner
from PIL import Image

from withstand.cli import main
from withstand.report.figures import KINDS, kind_of
from withstand.report.gallery import write_gallery
from withstand.results import ResultsError


class Pictures(HTMLParser):
    def __init__(self, page: str) -> None:
        super().__init__()
        self.found = []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        if tag == "img":
            self.found.append(dict(attrs))


@pytest.fixture
def results(finished):
    return finished.folder / "results/small"


def test_every_kind_of_figure_is_shown_once(results, tmp_path):
    output = tmp_path / "docs/gallery.md"
    result = CliRunner().invoke(main, ["gallery", str(results), "--output", str(output)])
    assert result.exit_code == 0, result.output
    page = output.read_text()
    shown = Pictures(page).found
    kinds = [kind_of(picture["src"].rsplit("/", 1)[1].rsplit(".", 1)[0])[0] for picture in shown]
    assert len(kinds) == len(set(kinds))
    drawn = {kind_of(path.stem)[0] for path in results.glob("figures/*.csv") if len(path.read_text().splitlines()) > 1}
    assert set(kinds) == drawn
    for picture in shown:
        path = output.parent / picture["src"]
        assert path.is_file()
        assert len(picture["alt"]) > 20
        assert int(picture["width"]) <= 900
        if path.suffix != ".svg":
            with Image.open(path) as image:
                assert image.width > 100
    assert f"{len(shown)} figures" in result.output
    titles = [KINDS[kind].title for kind in kinds if kind in KINDS]
    assert all(f"**{title}" in page for title in titles)
    assert page.index("### The paper's claims") < page.index("### At a glance") < page.index("### Natural corruptions")
    assert re.search(r"^- \d+ tests? of \d+ claims?: .* supported", page, re.MULTILINE)


def test_another_study_adds_what_is_new(results, tmp_path):
    """Comparisons of models are of every study; what was on the page before and is not any more, is removed."""
    other = shutil.copytree(results, tmp_path / "other")
    run = json.loads((other / "run.json").read_text())
    run["config"]["study"] = "other"
    (other / "run.json").write_text(json.dumps(run))
    output = tmp_path / "gallery.md"
    write_gallery([results, other], output)
    added = {path.stem for path in (tmp_path / "gallery/other").iterdir()}
    assert {kind_of(name)[0] for name in added} == {"claims", "overview", "held_out", "scaling", "shape_bias"}
    assert "the study `other`" in output.read_text()
    write_gallery([results], output)
    assert not list((tmp_path / "gallery/other").iterdir())


def test_a_study_that_never_ended_has_no_gallery(results, tmp_path):
    other = shutil.copytree(results, tmp_path / "other")
    (other / "run.json").unlink()
    with pytest.raises(ResultsError, match=r"other: no run has ended here"):
        write_gallery([other], tmp_path / "gallery.md")
    assert not (tmp_path / "gallery.md").exists()
