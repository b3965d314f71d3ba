"""Relative links, anchors and images of the pages."""

import re
from pathlib import PurePosixPath

from page import Page

LINK = re.compile(r"!?\[(?:[^\[\]]|\[[^\]]*\])*\]\(([^()\s]+)(?: \"[^\"]*\")?\)")


class Links:
    def __init__(self, root):
        self.root, self.pages = root, {}

    def page(self, path):
        if path not in self.pages:
            self.pages[path] = Page.read(self.root, path).anchors()
        return self.pages[path]

    def check(self, page):
        errors = []
        prose = dict(page.prose())
        text = "\n".join(prose.get(number, "") for number in range(len(page.lines)))
        without_code = re.sub(r"`[^`\n]*`", lambda m: "x" * len(m[0]), text)
        for match in LINK.finditer(without_code):
            target = text[match.start(1):match.end(1)]
            if problem := self.problem(page, target):
                errors.append((text.count("\n", 0, match.start()), f"link {target}: {problem}"))
        return errors

    def problem(self, page, target):
        if re.match(r"^[a-z]+:", target):
            return None  # not relative
        name, _, anchor = target.partition("#")
        path = PurePosixPath(page.path.as_posix()) if not name else page.path.parent / name
        full = (self.root / path).resolve()
        if not full.exists():
            return "no such file"
        if self.root not in full.parents and full != self.root:
            return "outside of the repository"
        if anchor and full.suffix == ".md" and anchor not in self.page(full.relative_to(self.root)):
            return "no such heading"
        return None
