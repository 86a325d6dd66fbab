"""What the site adds to Sphinx: the order and pictures of the gallery, and links that hold on GitHub, too."""

import re
import shutil
from pathlib import Path

GALLERY = (
    "first_training",
    "own_images",
    "count_posterior",
    "counts_with_sklearn",
    "own_patch_model",
    "render_crockery",
    "tables_in_3d",
    "another_renderer",
    "resume_and_export",
)
"""The examples, from the first to look at to the last."""


def place_in_gallery(file: str) -> int:
    """Tell the place of an example."""
    return GALLERY.index(Path(file).stem)


def collect_pictures(block, block_vars, gallery_conf) -> str:
    """Move the pictures that a script has left beside itself to where its page shows them."""
    from sphinx_gallery.scrapers import figure_rst

    pictures = sorted(Path(block_vars["src_file"]).parent.glob("*.png"))
    moved = [shutil.move(picture, next(block_vars["image_path_iterator"])) for picture in pictures]
    return figure_rst(moved, gallery_conf["src_dir"])


def link_to_gallery(app, page: str, source: list[str]) -> None:
    """Let links to examples, which on GitHub lead to the script, lead to its page."""
    source[0] = re.sub(r"\]\((?:\.\./)?examples/(\w+)\.py\)", r"](/gallery/\1.rst)", source[0])


def skip_fields(app, kind: str, name: str, value, skip: bool, options) -> bool | None:
    """Leave out the fields of named tuples, which their classes describe."""
    return True if type(value).__name__ == "_tuplegetter" else None


def escape_shapes(app, kind: str, name: str, value, options, lines: list[str]) -> None:
    """Keep the asterisks of shapes, as in `Float[Array, "*steps"]`, from being taken for emphasis."""
    lines[:] = [line.replace("*", r"\*") if line.startswith(":vartype") else line for line in lines]


def setup(app) -> dict[str, bool]:
    """Connect the hooks."""
    app.connect("source-read", link_to_gallery)
    app.connect("autodoc-skip-member", skip_fields)
    app.connect("autodoc-process-docstring", escape_shapes, priority=900)  # after Google's style has been read
    return {"parallel_read_safe": True}
