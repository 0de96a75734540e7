"""How Sphinx builds these pages: sphinx-build -n -W docs docs/_build/html."""

from importlib.metadata import version as installed_version

project = "landscape_opt"
author = "the landscape_opt contributors"
copyright = author
release = version = installed_version("landscape-opt")

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.doctest",
    "sphinx.ext.mathjax",
    "sphinx.ext.napoleon",
    "myst_parser",
    "sphinx_gallery.gen_gallery",
]
source_suffix = {".rst": "restructuredtext", ".md": "markdown"}
exclude_patterns = ["_build"]
myst_enable_extensions = ["dollarmath", "amsmath"]
myst_heading_anchors = 3

html_theme = "furo"
html_title = f"landscape_opt {release}"

autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
autodoc_preserve_defaults = True
autodoc_default_options = {"members": True}
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True

# There is no inventory of other projects to look in while building: their names are not links.
nitpick_ignore_regex = [
    ("py:.*", r"(torch|numpy|collections|typing|pathlib|abc|enum|functools)(\..*)?"),
    ("py:class", r"(Tensor|nn\.\w+|ABC|Any|Callable|Iterable|Iterator|Sequence|Self|Path)"),
    # Aliases and internal types, which have no entry of their own.
    ("py:class", r"(landscape_opt\.layout\.)?(Batch|Bounds|ExtraTerm|ForwardModel|Given|Layout|LossFn|LossOf|Metric)"),
    ("py:class", r"(OptimizerFactory|Request|WarmStart|X|(dist\.)?ProcessGroup|landscape_opt\.hub\._Inverter)"),
    ("py:class", r"(landscape_opt\.applications\.gan\.spaces\.)?(Features|Loss|Space)"),
    ("py:class", r"os\.PathLike"),
]

sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "gallery",
    "filename_pattern": r"/plot_",
    "ignore_pattern": r"(^|[/\\])(?!plot_)[^/\\]*\.py$",
    "download_all_examples": False,
    "show_memory": False,
    "min_reported_time": 1,
    "abort_on_example_error": True,
}
