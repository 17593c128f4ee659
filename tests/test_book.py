"""The book's sources agree with each other, and the check of the built site finds each fault."""

from __future__ import annotations

import pydoc
import re
import runpy
import subprocess
import sys
from collections import namedtuple
from pathlib import Path
from types import SimpleNamespace

import pytest

from washout import chapters

jupytext = pytest.importorskip("jupytext")
nbformat = pytest.importorskip("nbformat")
yaml = pytest.importorskip("yaml")
pytest.importorskip("bs4")

ROOT = Path(__file__).resolve().parents[1]
BOOK = ROOT / "book"
SOURCES = sorted(path for path in BOOK.glob("*.py") if path.name != "check_site.py")


check_site = SimpleNamespace(**runpy.run_path(str(BOOK / "check_site.py")))
extension = SimpleNamespace(**runpy.run_path(str(BOOK / "_ext" / "washout_book.py")))


# ---- notebooks ---------------------------------------------------------------------------------
@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_notebook_says_the_same_as_its_source(source):
    text, notebook = jupytext.read(source), nbformat.read(source.with_suffix(".ipynb"), 4)
    assert [(c.cell_type, c.source) for c in notebook.cells] == [
        (c.cell_type, c.source) for c in text.cells
    ], f"run: jupytext --to ipynb --update {source.relative_to(ROOT)}"
    assert [c.metadata.get("tags", []) for c in notebook.cells] == [
        c.metadata.get("tags", []) for c in text.cells
    ]
    assert notebook.metadata.kernelspec.name == "python3"


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_notebook_has_no_outputs(source):
    notebook = nbformat.read(source.with_suffix(".ipynb"), 4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert code
    assert all(cell.outputs == [] and cell.execution_count is None for cell in code)


def test_every_notebook_has_a_source():
    assert {p.stem for p in BOOK.glob("*.ipynb")} == {p.stem for p in SOURCES}


def test_custom_page_runs_and_shows_what_it_says(monkeypatch):
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("agg")
    page = runpy.run_path(str(BOOK / "custom.py"))
    labels, predict = page["test"].labels, page["predict"]
    assert (predict(page["model"], page["test"].images) == labels).double().mean() > 0.9
    gradient, blind = page["found"].success.double().mean(), page["blind"].success.double().mean()
    assert gradient > 2 * blind
    assert page["blind"].images.sub(page["test"].images).abs().max() <= 0.1 + 1e-6
    # The defense looks strong until its gradient is replaced.
    naive = page["naive"].success.double().mean()
    errs = (predict(page["defended"], page["test"].images) != labels).double().mean()
    assert abs(naive - errs) < 0.05
    assert page["fooled"].double().mean() > 0.9
    assert page["missed"].double().mean() > 0.5


# ---- configuration -----------------------------------------------------------------------------
def test_every_page_of_the_contents_has_a_file():
    names = check_site.pages(BOOK / "_toc.yml")
    assert len(names) == len(set(names))
    for name in names:
        assert (BOOK / f"{name}.ipynb").is_file() or (BOOK / f"{name}.md").is_file(), name


def test_every_chapter_is_in_the_contents():
    assert set(chapters.NAMES) <= set(check_site.pages(BOOK / "_toc.yml"))


def test_build_executes_everything_and_stops_at_an_error():
    config = yaml.safe_load((ROOT / "_config.yml").read_text())
    execute = config["execute"]
    assert execute["execute_notebooks"] == "force"
    assert execute["raise_on_error"] is True
    assert execute["timeout"] == 600


def test_pages_load_nothing_from_other_servers():
    config = yaml.safe_load((ROOT / "_config.yml").read_text())
    assert "dollarmath" not in config["parse"]["myst_enable_extensions"]
    assert config["sphinx"]["config"]["html_js_files"] == []
    assert config["sphinx"]["config"]["nb_ipywidgets_js"] == {}


@pytest.mark.parametrize("page", sorted((BOOK / "api").glob("*.md")), ids=lambda path: path.stem)
def test_what_the_api_pages_document_is_there(page):
    directive = re.compile(r"^\.\. auto(module|function|class):: (\S+)\n((?:   :.*\n)*)", re.M)
    found = directive.findall(page.read_text())
    assert found or page.stem == "index"
    for _, name, options in found:
        thing = pydoc.locate(name)
        assert thing is not None, name
        assert thing.__doc__, name
        members = re.search(r":members: (.+)", options)
        for member in re.split(r",\s*", members[1]) if members else ():
            assert getattr(thing, member).__doc__, f"{name}.{member}"


# ---- the extension -----------------------------------------------------------------------------
def options_for(url: str) -> dict:
    config = SimpleNamespace(
        html_theme_options={
            "repository_url": url,
            "launch_buttons": {"notebook_interface": "jupyterlab"},
        }
    )
    extension.turn_on_buttons(None, config)
    return config.html_theme_options


def test_no_buttons_without_a_repository():
    options = options_for("")
    assert set(options) == {"repository_url", "launch_buttons"}
    assert options["launch_buttons"] == {"notebook_interface": "jupyterlab"}


def test_buttons_with_a_repository():
    options = options_for("https://github.com/someone/washout")
    assert options["use_repository_button"] is options["use_source_button"] is True
    assert options["launch_buttons"] == {
        "notebook_interface": "jupyterlab",
        "colab_url": "https://colab.research.google.com",
    }


def test_colab_is_for_github_only():
    options = options_for("https://gitlab.com/someone/washout")
    assert options["use_repository_button"] is True
    assert "colab_url" not in options["launch_buttons"]


def test_docstrings_stay_plain_text():
    lines = ["(B,), in [0, 1]: the mean over classes.", "Two: (x, **settings) of ``*``, **bold**."]
    extension.keep_text(None, "property", "x.y", None, None, lines)
    assert lines == [
        "(B,), in [0, 1] – the mean over classes.",
        r"Two: (x, \*\*settings) of ``*``, **bold**.",
    ]


def test_generated_docstrings_are_left_out():
    Pair = namedtuple("Pair", "first")
    assert extension.skip(None, "class", "first", Pair.first, False, None) is True
    assert extension.skip(None, "class", "count", Pair.count, False, None) is None


def test_a_build_never_computes(monkeypatch):
    # setenv first, so that monkeypatch puts both back.
    monkeypatch.setenv("WASHOUT_COMPUTE", "")
    monkeypatch.setenv("JUPYTER_PREFER_ENV_PATH", "")
    connected = []
    extension.setup(SimpleNamespace(connect=lambda *words, **more: connected.append(words)))
    from washout.study import Study

    assert Study("chapter3", profile="smoke").compute is False
    assert ("config-inited", extension.turn_on_buttons) in connected


@pytest.mark.slow
def test_theme_shows_the_buttons_once_the_address_is_set(tmp_path):
    pytest.importorskip("jupyter_book")
    config = yaml.safe_load((ROOT / "_config.yml").read_text())
    config["repository"]["url"] = "https://github.com/someone/washout"
    config["execute"]["execute_notebooks"] = "off"
    config["sphinx"]["local_extensions"] = {"washout_book": str(BOOK / "_ext")}
    del config["bibtex_bibfiles"], config["logo"], config["html"]["favicon"]
    book = tmp_path / "book"
    book.mkdir()
    (tmp_path / "_config.yml").write_text(yaml.safe_dump(config))
    (book / "_toc.yml").write_text("format: jb-book\nroot: page\n")
    cell = nbformat.v4.new_markdown_cell("# A page")
    code = nbformat.v4.new_code_cell("1 + 1")
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    notebook = nbformat.v4.new_notebook(cells=[cell, code], metadata=kernel)
    nbformat.write(notebook, book / "page.ipynb")
    command = [str(Path(sys.executable).parent / "jupyter-book"), "build", str(book)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    page = (tmp_path / "_build" / "html" / "page.html").read_text()
    colab = "colab.research.google.com/github/someone/washout/blob/main/book/page.ipynb"
    source = "github.com/someone/washout/blob/main/book/page.ipynb?plain=1"
    assert colab in page
    assert source in page
    assert "sphinx-thebe.js" not in page
    assert "THEBE_JS_URL" not in page
    assert "_sources/page.ipynb" in page  # the notebook can be downloaded


# ---- the check of the built site ---------------------------------------------------------------
PAGE = '<html><body><article id="top">{}</article></body></html>'
FAULTS = {
    "missing page": (None, "index.html: missing"),
    "traceback": ("<pre>Traceback (most recent call last): x</pre>", "shows a traceback"),
    "traceback output": ('<div class="output traceback">ValueError: no</div>', "ValueError: no"),
    "stderr": ('<div class="output stderr">UserWarning: hm</div>', "UserWarning: hm"),
    "no such page": ('<a href="nowhere.html">x</a>', "nowhere.html, which is not there"),
    "no such file": ('<a href="_downloads/x.csv">x</a>', "x.csv, which is not there"),
    "no such anchor": ('<a href="other.html#gone">x</a>', "no such anchor"),
    "no such own anchor": ('<a href="#gone">x</a>', "no such anchor"),
    "no such image": ('<img src="_images/x.png" alt="A cat">', "x.png, which is not there"),
    "no description": ('<img src="a.png">', "image without a description"),
    "empty description": ('<img src="a.png" alt=" ">', "image without a description"),
    "path as description": ('<img src="a.png" alt="_images/a.png">', "image without"),
}


def build(folder: Path, body: str | None) -> None:
    (folder / "a.png").write_bytes(b"")
    (folder / "other.html").write_text(PAGE.format('<h1 id="here">x</h1>'))
    if body is not None:
        (folder / "index.html").write_text(PAGE.format(body))


@pytest.mark.parametrize("name", FAULTS)
def test_check_finds(name, tmp_path):
    body, expected = FAULTS[name]
    build(tmp_path, body)
    found = list(check_site.faults(tmp_path, ["other"]))
    assert len(found) == 1
    assert expected in found[0]


def test_check_passes_a_sound_site(tmp_path, capsys):
    build(
        tmp_path,
        '<a href="other.html#here">x</a> <a href="#top">x</a> <a href="https://example.org/x">x</a>'
        '<a href="data:text/csv;base64,YQ==">x</a><img src="a.png" alt="A cat">'
        "<p>Errors are no tracebacks.</p>",
    )
    (tmp_path / "toc.yml").write_text("format: jb-book\nroot: index\nchapters:\n- file: other\n")
    words = ["--html", str(tmp_path), "--toc", str(tmp_path / "toc.yml")]
    assert check_site.main(words) == 0
    assert "2 pages, no fault" in capsys.readouterr().out


def test_check_finds_leftovers_and_exits_with_1(tmp_path, capsys):
    build(tmp_path, "")
    (tmp_path / "toc.yml").write_text("format: jb-book\nroot: index\n")
    words = ["--html", str(tmp_path), "--toc", str(tmp_path / "toc.yml")]
    assert check_site.main(words) == 1
    assert "other.html: left over" in capsys.readouterr().out


def test_pages_reads_parts_and_sections(tmp_path):
    (tmp_path / "toc.yml").write_text(
        "root: intro\nparts:\n- chapters:\n  - file: a\n    sections:\n    - file: b/c\n"
        "- chapters:\n  - file: d\n"
    )
    assert check_site.pages(tmp_path / "toc.yml") == ["intro", "a", "b/c", "d"]
