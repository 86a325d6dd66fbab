"""The documentation hangs together: pages are reached, links lead somewhere, settings are sound."""

import importlib.util
import pkgutil
import re
import runpy
import sys
import tomllib
from pathlib import Path

import pytest

import airjax

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = sorted(
    {*ROOT.glob("*.md"), *DOCS.rglob("*.md"), *(ROOT / "experiments").rglob("*.md"), *ROOT.glob("bench*/**/*.md")}
)
GENERATED = {DOCS / "gallery" / "index.md"}


def _hooks():
    spec = importlib.util.spec_from_file_location("site_hooks", DOCS / "site_hooks.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _headings(page):
    """Name a page's headings as GitHub does."""
    titles = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_and_pictures_exist(page):
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"https?://", link):
            continue
        path, _, heading = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert not heading or heading in _headings(target), link


def test_every_page_is_reached():
    reached, todo = set(), [DOCS / "index.md"]
    while todo:
        page = todo.pop()
        reached.add(page)
        for tree in re.findall(r"```{toctree}\n(.*?)```", page.read_text(), re.DOTALL):
            below = [line for line in tree.splitlines() if line and not line.startswith(":")]
            named = {page.parent / f"{name}.md" for name in below} - GENERATED
            todo += sorted(named - reached)
    assert reached == set(DOCS.rglob("*.md")) - set((DOCS / "gallery").rglob("*"))


def test_the_reference_lists_every_public_module_once():
    text = "".join(page.read_text() for page in (DOCS / "api").glob("*.md"))
    listed = re.findall(r"automodule:: ([\w.]+)", text)
    found = {module.name for module in pkgutil.walk_packages(airjax.__path__, "airjax.", onerror=lambda name: None)}
    private = {name for name in found if "._" in name or name.startswith("airjax.interfaces.serve.")}
    assert sorted(listed) == sorted({"airjax", *found} - private - {"airjax.sklearn"})  # another name of the estimator


def test_settings_name_what_is_declared(monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr("typing.GENERATING_DOCUMENTATION", None, raising=False)  # what it sets is undone
    settings = runpy.run_path(str(DOCS / "conf.py"))
    monkeypatch.undo()
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]["docs"]
    packages = {re.match(r"[\w-]+", name)[0].replace("-", "_") for name in declared}
    used = {name.partition(".")[0] for name in (*settings["extensions"], settings["html_theme"])}
    assert used - {"site_hooks"} == packages


def test_the_gallery_has_every_example():
    assert sorted(_hooks().GALLERY) == sorted(path.stem for path in (ROOT / "examples").glob("*.py"))


def test_links_to_examples_lead_to_their_pages():
    source = ["[a](../examples/first_training.py), [b](data.md)"]
    _hooks().link_to_gallery(None, "start", source)
    assert source == ["[a](/gallery/first_training.rst), [b](data.md)"]
