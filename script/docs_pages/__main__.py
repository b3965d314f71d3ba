"""Compares the pages in docs/ with the programs, or rewrites their outputs. See script/docs --help."""

import argparse
import sys
from pathlib import Path

import arithmetic
from blocks import Blocks
from gallery import Gallery
from links import Links
from options import Commands
from page import Page
from programs import CommandFailed, Programs
from worked import Worked

ROOT = Path(__file__).resolve().parent.parent.parent


def pages_of(root):
    paths = [Path("README.md"), Path("CONTRIBUTING.md")]
    paths += sorted(path.relative_to(root) for path in root.glob("docs/*.md"))
    return [Page.read(root, path) for path in paths]


def refresh_gallery(page, gallery, rewrite):
    """The lines between <!-- gallery --> and <!-- end -->."""
    markers = {m.kind: m.line for m in page.markers if m.kind in ("gallery", "end")}
    if "gallery" not in markers:
        return []
    first, last = markers["gallery"] + 1, markers["end"]
    expected = gallery.lines()
    if page.lines[first:last] == expected:
        return []
    if rewrite:
        page.lines[first:last] = expected
        page.find_blocks()
        return []
    pairs = enumerate(zip(page.lines[first:last], expected))
    wrong = next((number for number, (shown, right) in pairs if shown != right), len(expected))
    return [(first + wrong, "the gallery is stale; run script/docs")]


def equation_errors(page):
    """The wrong equations outside of code and of the worked example, and the number of all of them."""
    lines = page.paragraphs()
    for block in page.blocks:
        is_worked = block.marker and block.marker.kind == "worked"
        if block.language in ("", "text", "math") and not is_worked:
            lines += enumerate(page.content(block), block.first)
    errors = [(n, e) for n, line in lines for e in arithmetic.wrong_equations(line)]
    return errors, sum(arithmetic.count_equations(line) for _, line in lines)


def main():
    parser = argparse.ArgumentParser(prog="docs")
    parser.add_argument("--check", action="store_true")
    parser.add_argument("build", type=Path)
    arguments = parser.parse_args()
    rewrite = not arguments.check
    programs = Programs(arguments.build.resolve(), workers=1 if rewrite else 2)  # times that are shown
    gallery, worked, links = Gallery(ROOT, programs), Worked(programs), Links(ROOT)
    commands, blocks = Commands(ROOT, programs), Blocks(ROOT, programs, rewrite)
    pages = pages_of(ROOT)
    for page in pages:
        blocks.start(page)
    commands.start()

    failures = {page.path: [] for page in pages}
    for page in pages:
        before = list(page.lines)
        failures[page.path] += attempt(lambda page=page: refresh_gallery(page, gallery, rewrite))
        failures[page.path] += attempt(lambda page=page: blocks.check(page))
        page.find_blocks()
        if page.lines != before:
            (ROOT / page.path).write_text("\n".join(page.lines), encoding="utf-8")
            print(f"docs: rewrote {page.path}", file=sys.stderr)
    equations = 0
    for page in pages:  # now that all pages are written
        found, count = equation_errors(page)
        equations += count
        failures[page.path] += [(0, "a fenced block is not closed")] if page.unclosed else []
        failures[page.path] += found + page.marker_errors() + links.check(page)
        for check in (worked.check, commands.check):
            failures[page.path] += attempt(lambda page=page, check=check: check(page))
    for path, errors in failures.items():
        for number, message in sorted(errors):
            print(f"{path}:{number + 1}: {message}", file=sys.stderr)
    shown = sum(m.kind in ("output", "code", "image") for page in pages for m in page.markers)
    total = sum(len(errors) for errors in failures.values())
    print(f"docs: {len(pages)} pages, {shown} outputs and samples, {worked.count} values of the worked "
          f"example, {equations} other equations: {total or 'no'} error{'' if total == 1 else 's'}")
    return 1 if total else 0


def attempt(check):
    """The errors of a check; a command that fails is one."""
    try:
        return check()
    except CommandFailed as failure:
        return [(0, str(failure))]


if __name__ == "__main__":
    try:
        sys.exit(main())
    except CommandFailed as failure:
        sys.exit(f"docs: error: {failure}")
