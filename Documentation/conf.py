# SPDX-License-Identifier: GPL-2.0
# Sphinx: plain RST and one directive, `mutants`; warnings are errors (make docs).

from pathlib import Path

from docutils import nodes
from docutils.parsers.rst import Directive

project = "xfd_switch"
author = "xfd_switch developers"
exclude_patterns = []
html_theme = "alabaster"
# Quotes and dashes stay as they are written: much here is quoted from code.
smartquotes = False


class Mutants(Directive):
    """What selftests/mutants breaks, and what notices: a table from the patches' headers."""

    def run(self):
        group = nodes.tgroup(cols=2)
        group += [nodes.colspec(colwidth=width) for width in (3, 2)]
        head, body = nodes.thead(), nodes.tbody()
        group += [head, body]
        head += row(nodes.Text("what is broken"), nodes.Text("test"))
        patches = Path(__file__).parent.parent / "selftests" / "mutants"
        for patch in sorted(patches.glob("*.patch")):
            header = patch.read_text().split("\n---\n")[0].splitlines()
            fields = dict(line.split(": ", 1) for line in header[1:] if ": " in line)
            test = [nodes.literal(text=fields.get("Test", ""))]
            # The page says that the others are for this strategy.
            if fields.get("Kernel") != "lazy":
                test.append(nodes.Text(", " + fields.get("Kernel", "")))
            body += row(nodes.Text(header[0]), *test)
        return [nodes.table("", group)]


def row(first, *second):
    cells = (nodes.entry("", nodes.paragraph("", "", *c)) for c in ([first], second))
    return nodes.row("", *cells)


def setup(app):
    app.add_directive("mutants", Mutants)
