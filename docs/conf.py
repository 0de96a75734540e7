"""How Sphinx builds these pages: sphinx-build -n -W docs docs/_build/html."""

import sys
from importlib.metadata import version as installed_version
from pathlib import Path

from sphinx_gallery.sorting import ExplicitOrder

sys.path.insert(0, str(Path(__file__).parent))  # for mathml.py and unbroken.py

project = "landscape_opt"
author = "the landscape_opt contributors"
copyright = author
release = version = installed_version("landscape-opt")

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.doctest",
    "sphinx.ext.napoleon",
    "mathml",
    "myst_parser",
    "sphinx_design",
    "sphinx_gallery.gen_gallery",
    "unbroken",
]
language = "en"
source_suffix = {".rst": "restructuredtext", ".md": "markdown"}
exclude_patterns = ["_build", "headline.md"]  # the headline is a part of index.md
myst_enable_extensions = ["amsmath", "dollarmath"]
myst_heading_anchors = 3

html_theme = "furo"
pygments_dark_style = "github-dark"  # furo's default underlines modules as if they were links
html_title = f"landscape_opt {release}"
html_static_path = ["_static"]
html_css_files = ["site.css"]

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
    ("py:class", r"(landscape_opt\.layout\.)?(Batch|Bounds|ExtraTerm|ForwardModel|Given|Layout|LossFn|LossOf)"),
    ("py:class", r"(OptimizerFactory|Request|WarmStart|X|(dist\.)?ProcessGroup|landscape_opt\.hub\._Inverter)"),
    ("py:class", r"(landscape_opt\.applications\.gan\.spaces\.)?(Features|Loss|Space)"),
    ("py:class", r"os\.PathLike"),
]

# From simple to involved.
TUTORIALS = (
    "quickstart", "own_model", "constraints_and_masks", "hypotheses", "arm_obstacle", "camera_pose", "human_pose",
    "gan_inversion", "adversarial_reversal", "production",
)  # fmt: skip
sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "gallery",
    "filename_pattern": r"/plot_",
    "ignore_pattern": r"(^|[/\\])(?!plot_)[^/\\]*\.py$",
    "download_all_examples": False,
    "show_memory": False,
    "within_subsection_order": ExplicitOrder([*(f"plot_{name}.py" for name in TUTORIALS), "*"]),
    "capture_repr": (),  # what is printed, and not what the last line happens to return
    "write_computation_times": False,  # those pages fetch scripts from elsewhere
    "min_reported_time": 1,
    "abort_on_example_error": True,
}
