"""Pages: what is in them, that nothing a person wrote is taken for markup, that large ones stay small."""

import html.parser
import json
import math
import re
import shutil
from types import SimpleNamespace

import numpy as np
import pytest

from hfac import diagnostics, pages, results
from hfac._errors import InputError
from hfac.cli import _tune_run
from hfac.pages import _page, _render, _shared
from support.commands import command
from support.reported import KINDS, folder, large_sweep
from support.slow import few

EVIL = "</script><script>alert(1)</script><img src=x onerror='y'>&\"%{x}"
VOID = {"meta", "link", "img", "br", "input"}


class Outline(html.parser.HTMLParser):
    """Tags as a browser meets them; every one that is opened is closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.opened, self.tags, self.sources, self.words = [], [], [], []
        self.feed(text)
        assert self.opened == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self.sources += [value for name, value in attrs if name in ("src", "href", "data", "action")]
        if tag not in VOID:
            self.opened.append(tag)

    def handle_endtag(self, tag):
        assert self.opened.pop() == tag

    def handle_data(self, data):
        if not self.opened or self.opened[-1] not in ("script", "style"):
            self.words.append(data)


@pytest.fixture
def without_library(monkeypatch):
    """Pages without plotly's own five megabytes."""
    monkeypatch.setattr(_render, "plotting_library", str)


def page_of(*parts, title=EVIL):
    return pages.Page(EVIL, EVIL, EVIL, (_page.Fact(EVIL, EVIL, EVIL),), (_page.Section(title, parts),))


def everything():
    line = _page.Line(EVIL, (1.0, 2.0), (1.0, None), (0.5, None), (1.5, None))
    panel = _page.Panel(EVIL, ((1.0,),), ((1.0,),), (((0.1, 0.2),),))
    return (
        _page.Chart(EVIL, EVIL, EVIL, (line,), (_page.Reference(EVIL, 1.0),), note=EVIL),
        _page.Bars(EVIL, EVIL, (EVIL,), (0.5,), EVIL, EVIL),
        _page.Heatmap(EVIL, EVIL, (panel,), ((EVIL, ((0, 0),)),), (0.1, 1.0), EVIL),
        _page.table(EVIL, [{EVIL: _page.Cell(EVIL)}], EVIL),
        _page.Text(EVIL),
        _page.Code(EVIL, EVIL),
        _page.Code(EVIL, EVIL, is_folded=True),
    )


def test_what_a_person_wrote_is_never_markup(without_library):
    plain, evil = (pages.render(page_of(*parts)) for parts in ((), everything()))
    found = Outline(evil)
    assert not any(tag == "img" for tag, _ in found.tags)
    scripts = [attributes for tag, attributes in found.tags if tag == "script"]
    assert len(scripts) == 2 + 3  # the library's, the page's, and the numbers of three figures
    assert "alert(1)" in " ".join(found.words) and Outline(plain).words
    for block in re.findall(r'<script type="application/json"[^>]*>(.*?)</script>', evil, re.DOTALL):
        assert EVIL in json.loads(block).values() and "<" not in block


def test_values_that_are_not_finite_leave_gaps():
    assert _page.numbers([1.0, math.nan, math.inf, 123456.7]) == (1.0, None, None, 123460.0)


@pytest.mark.parametrize(("points", "lines"), [(10, 1), (5_000, 1), (5_000, 1_000)])
def test_curves_are_thinned_between_their_ends(points, lines):
    kept = _shared.kept(points, lines)
    assert kept[0] == 0 and kept[-1] == points - 1 and np.all(np.diff(kept) > 0)
    assert len(kept) <= _shared.MOST_POINTS and len(kept) * lines <= max(_shared.POINTS_OF_A_CHART, points * lines // 9)
    assert len(kept) == points or len(kept) >= _shared.FEWEST_POINTS


def test_tables_are_sorted_by_numbers_not_by_what_is_shown(without_library):
    rows = [
        {"name": _page.Cell("a"), "end": _page.cell(value, words)}
        for value, words in ((1234.5, "1,234.5"), (math.inf, "diverged"), (math.nan, ""), (-2.0, "-2"))
    ]
    text = pages.render(page_of(_page.table("T", rows)))
    assert re.findall(r'data-value="([^"]*)"', text) == ["1234.5", "Infinity", "NaN", "-2.0"]
    assert re.findall(r'<th scope="col" aria-sort="none"( class="number")?>', text) == ["", ' class="number"']


@pytest.mark.slow
def test_many_configurations_stay_below_ten_kilobytes_each(without_library):
    origin = pages.origin({"command": "sweep", "steps": 1_000_000}, {})
    data, problem = large_sweep(100, 150), SimpleNamespace(name="p", layout=None)
    page = pages.sweep(data, [({}, problem)], "hfac", origin)
    (chart,) = page.sections[0].parts
    assert len(chart.lines) == 100 and sum(line.is_shown for line in chart.lines) == _shared.SHOWN_AT_FIRST
    assert f"The first {_shared.SHOWN_AT_FIRST} of 100 lines are shown" in chart.note
    assert len(pages.render(page)) < 1e6


@pytest.mark.parametrize("kind", few(KINDS, *(kind for kind in KINDS if kind not in ("tweets", "finetune"))))
def test_every_kind_says_what_came_out_and_needs_nothing_else(kind, tmp_path_factory):
    text = (folder(kind, tmp_path_factory) / pages.FILE).read_text(encoding="utf-8")
    found = Outline(text)
    assert all(source.startswith(("#", "data:")) for source in found.sources), found.sources
    headline = re.search(r"<h1>(.*?)</h1>", text).group(1)
    assert re.search(r"-?\d\.\d", headline) and headline.endswith(".")
    words = " ".join(found.words)
    for said in ("Where the numbers come from", "jax ", "--config config.json", "Every setting", "seeds"):
        assert said in words, said
    figures = sum(tag == "figure" for tag, _ in found.tags)
    plots = [attributes for _, attributes in found.tags if attributes.get("class") == "plot"]
    assert len(plots) >= figures >= 1
    assert all(attributes["role"] == "img" and attributes["aria-label"] for attributes in plots)


def test_the_page_of_a_sweep_shows_its_summary_and_who_failed(tmp_path_factory):
    place = folder("sweep", tmp_path_factory)
    text = (place / pages.FILE).read_text(encoding="utf-8")
    assert "4 of 6 runs ended healthy, 2 diverged" in text and "an update was not finite" in text
    for row in results.summary(results.load(place)):
        assert not math.isfinite(row["low"]) or f"{row['low']:.4f} to {row['high']:.4f}" in text


def refused(*args) -> str:
    done = command(*map(str, args))
    assert done.returncode == 2 and done.stdout == "" and done.stderr.count("\n") == 1, done
    return done.stderr


UNFINISHED = {
    "rates": ("results.zarr/part-000", "holds no records"),
    "diagnose": ("diagnosis.npz", "lacks diagnosis.npz"),
    "tune": ("best.json", "4 of 4 rungs"),
    "compare": ("finished.json", "not finished"),
}


@pytest.mark.parametrize("kind", UNFINISHED)
def test_a_folder_that_is_not_finished_is_refused_in_one_line(kind, tmp_path, tmp_path_factory):
    missing, said = UNFINISHED[kind]
    copy = tmp_path / kind
    shutil.copytree(folder(kind, tmp_path_factory), copy)
    before = (copy / pages.FILE).stat().st_mtime_ns
    gone = copy / missing
    shutil.rmtree(gone) if gone.is_dir() else gone.unlink()
    words = refused("report", copy, "--html")
    assert said in words and "hfac resume" in words
    assert (copy / pages.FILE).stat().st_mtime_ns == before


def test_other_folders_are_refused_in_one_line(tmp_path):
    assert "holds no run" in refused("report", tmp_path, "--html")
    (tmp_path / "config.json").write_text('{"command": "plan"}')
    assert "report takes sweep, tune, compare, rates, diagnose" in refused("report", tmp_path, "--html")
    (tmp_path / "config.json").write_text('{"command": "tune", "problem": "goal_placement"}')
    assert "sweeps are judged again" in refused("report", tmp_path, "--judge", "0.1")
    assert "holds 0 of 8 rungs of a search" in refused("report", tmp_path)


def test_without_the_plotting_library_the_remedy_is_named(tmp_path, monkeypatch):
    run = {
        "command": "sweep",
        "problem": "goal_placement",
        "algorithm": "hfac",
        "steps": 1,
        "seeds": 1,
        "first_seed": 0,
    }
    (tmp_path / "config.json").write_text(json.dumps(run))
    monkeypatch.setitem(__import__("sys").modules, "plotly.offline", None)
    assert "`pip install plotly` gets it" in refused("report", tmp_path, "--html")
    with pytest.raises(InputError, match="plotly"):
        pages.render(page_of())


@pytest.mark.parametrize("kind", ["rates", "diagnose", "tune", "compare"])
def test_what_is_stored_is_not_computed_again(kind, tmp_path, tmp_path_factory, monkeypatch):
    copy = tmp_path / kind
    shutil.copytree(folder(kind, tmp_path_factory), copy)
    for name in ("hfac.runs.record", "hfac.results.judge", "hfac.diagnostics.diagnose", "hfac.judging.judge_of"):
        monkeypatch.setattr(name, None)
    done = command("report", str(copy), "--html")
    assert done.returncode == 0, done.stderr
    assert done.stdout and list((copy / "figures").glob("*.png")) and "report.html" in done.stderr


def test_a_search_is_read_as_it_was_written(tmp_path, tmp_path_factory):
    place = folder("tune", tmp_path_factory)
    log = _tune_run.read_log(place / "search.csv")
    _tune_run.write_log(tmp_path / "again.csv", log)
    lines = [sorted((where / name).read_text().splitlines()) for where, name in
             ((place, "search.csv"), (tmp_path, "again.csv"))]  # fmt: skip
    sizes = [len(rung) for rung in log]
    assert lines[0] == lines[1] and all(sizes[i] > sizes[i + 1] for i in (0, 2))  # two rounds of two rungs


def test_a_diagnosis_is_read_as_it_was_written(tmp_path, tmp_path_factory):
    place = folder("diagnose", tmp_path_factory)
    found = diagnostics.load(place / "diagnosis.npz")
    said = json.loads((place / "diagnosis.json").read_text())
    assert (said["verdict"], said["limit"], said["shares"]) == (found.verdict(), found.limit, found.shares)
    diagnostics.save(found, tmp_path / "again.npz")
    again = diagnostics.load(tmp_path / "again.npz")
    np.testing.assert_equal(again._asdict(), found._asdict())
    (tmp_path / "again.npz").write_bytes(b"no diagnosis")
    with pytest.raises(ValueError, match=r"again\.npz is damaged"):
        diagnostics.load(tmp_path / "again.npz")


def luminance(color: str) -> float:
    color = color * 2 if len(color) == 3 else color
    parts = [int(color[i : i + 2], 16) / 255 for i in (0, 2, 4)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
def test_text_stands_out_from_its_paper(theme):
    """WCAG 2.2, 1.4.3: a contrast of at least 4.5."""
    block = re.findall(r":root \{(.*?)\}", _render._packaged("page.css"), re.DOTALL)[theme]
    colors = dict(re.findall(r"--(\w+): #(\w+)", block))
    for ink in ("ink", "quiet", "accent", "good", "bad"):
        for paper in ("paper", "raised"):
            light, dark = sorted((luminance(colors[ink]), luminance(colors[paper])), reverse=True)
            assert (light + 0.05) / (dark + 0.05) >= 4.5, (ink, paper)
