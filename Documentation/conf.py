# SPDX-License-Identifier: GPL-2.0
# Sphinx: plain RST, no extensions, warnings are errors (make docs).

project = "xfd_switch"
author = "xfd_switch developers"
exclude_patterns = []
html_theme = "alabaster"
