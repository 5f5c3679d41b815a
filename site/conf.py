# SPDX-License-Identifier: Apache-2.0
"""Sphinx: the pages of ``docs/`` and the API from the docstrings, read without importing them
(``make site``)."""

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

project = "Makalu"
author = "the Makalu developers"
html_title = "Makalu"
html_theme = "furo"
extensions = ["myst_parser", "autoapi.extension", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]

exclude_patterns = ["**/*.json"]
myst_heading_anchors = 3
myst_enable_extensions = ["colon_fence"]

autoapi_dirs = [str(ROOT / name) for name in (
    "makalu", "runtime", "isa", "gangs", "golden", "hw", "compiler", "sim", "prove")]
autoapi_root = "api"
autoapi_options = ["members", "undoc-members", "show-module-summary"]
autoapi_add_toctree_entry = False
autoapi_member_order = "bysource"

napoleon_google_docstring = False
napoleon_use_ivar = True
napoleon_custom_sections = [("Members", "params_style")]

# pages link to files of the checkout, which are no pages; docstrings name things of other libraries
suppress_warnings = ["myst.xref_missing", "ref.python", "autoapi", "docutils"]
