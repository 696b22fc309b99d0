# SPDX-License-Identifier: GPL-2.0
# Sphinx: plain RST and two directives, `mutants` and `costs`; warnings are errors (make docs).

import tomllib
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


class Costs(Directive):
    """Each entry of costs.toml, below its operation."""

    def run(self):
        ledger = tomllib.loads((Path(__file__).parent / "costs.toml").read_text())
        operations = nodes.definition_list()
        for operation in ledger["operation"]:
            entries = nodes.bullet_list()
            entries += [entry(e) for e in operation.get("published", [])]
            if not entries.children:
                entries = nodes.paragraph(text="Nothing is published that we know of.")
            term = nodes.term(text=operation["name"])
            operations += nodes.definition_list_item("", term, nodes.definition("", entries))
        return [operations]


def entry(e):
    least, most = e["least"], e.get("most")
    interval = f"at least {least}" if most is None else f"{least} to {most}"
    interval = str(least) if least == most else interval
    like = f", {e['like']}" if "like" in e else ""
    text = f"{interval} {e.get('unit', 'cycles')}{like}: {e['how']} by {e['who']}, CPU {e['cpu']}. "
    end = f", {e['date']}; {e['source']}"
    title = nodes.emphasis(text=e["title"])
    return nodes.list_item("", nodes.paragraph("", "", nodes.Text(text), title, nodes.Text(end)))


def row(first, *second):
    cells = (nodes.entry("", nodes.paragraph("", "", *c)) for c in ([first], second))
    return nodes.row("", *cells)


def setup(app):
    app.add_directive("mutants", Mutants)
    app.add_directive("costs", Costs)
