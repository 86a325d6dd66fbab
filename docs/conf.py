"""Settings of the documentation site, which `make docs` builds."""

import sys
import typing
from importlib import metadata
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # where Sphinx finds `site_hooks`
typing.GENERATING_DOCUMENTATION = "airjax"  # jaxtyping then writes shapes as they are in the source

project = "airjax"
release = metadata.version("airjax")
project_copyright = "the authors of airjax"
extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_gallery.gen_gallery",
    "site_hooks",
]
exclude_patterns = ["gallery/*.ipynb", "gallery/*.json", "gallery/*.py"]
suppress_warnings = ["config.cache"]

html_theme = "sphinx_book_theme"
html_title = "airjax"
html_copy_source = False
html_theme_options = {
    "show_toc_level": 2,
    "use_download_button": False,
    "use_fullscreen_button": False,
    "navbar_persistent": [],  # the search field is beside the contents
    "footer_content_items": ["copyright.html"],
}

default_role = "py:obj"  # docstrings have names in single backticks
nitpick_ignore = [
    ("py:class", "airjax.models.patches.base.Part"),
    ("py:class", "airjax.inference.sampling.M"),
    ("py:class", "airjax.learning.trainer.Aux"),
    ("py:class", "airjax.data.ahead.T"),
    ("py:class", "airjax.learning.devices.T"),
    ("py:class", "airjax.runs.processes.T"),
]  # type variables
nitpick_ignore_regex = [("py:.*", r"(?!airjax\.).*"), ("py:obj", r"(?s).*")]
autodoc_default_options = {"members": True, "member-order": "bysource"}
autodoc_typehints_format = "short"
napoleon_use_ivar = True
python_maximum_signature_line_length = 90
myst_heading_anchors = 3

sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "gallery",
    "filename_pattern": r"\.py$",
    "within_subsection_order": "site_hooks.place_in_gallery",
    "image_scrapers": ("site_hooks.collect_pictures",),
    "notebook_extensions": set(),
    "download_all_examples": False,
    "abort_on_example_error": True,
    "capture_repr": (),
    "show_signature": False,
    "write_computation_times": False,
}
