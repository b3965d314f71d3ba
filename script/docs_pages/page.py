"""A Markdown page: its lines, fenced blocks, headings, and the markers in front of blocks."""

import re
from dataclasses import dataclass, field

KINDS = ("output", "code", "worked", "machine", "fragment", "image", "terminal", "screenshot",
         "gallery", "end")
MARKER = re.compile(rf"^<!-- ({'|'.join(KINDS)})(?:: (.*?))? -->$")
FENCE = re.compile(r"^( *)(```+|~~~+)(.*)$")


@dataclass
class Marker:
    """<!-- kind: argument | option: value --> in a line of its own, directly in front of a block."""

    kind: str
    argument: str
    options: dict
    line: int  # from 0


@dataclass
class Block:
    """A fenced block. Its content is lines[first:last]; the fences are the lines around it."""

    language: str
    first: int
    last: int
    marker: Marker = None


@dataclass
class Page:
    path: object  # pathlib.Path, relative to the repository
    lines: list
    blocks: list = field(default_factory=list)
    markers: list = field(default_factory=list)

    @classmethod
    def read(cls, root, path):
        page = cls(path, (root / path).read_text(encoding="utf-8").split("\n"))
        page.find_blocks()
        return page

    def find_blocks(self):
        self.blocks, self.markers = [], []
        opened, marker = None, None
        for number, line in enumerate(self.lines):
            fence = FENCE.match(line)
            if opened:
                if fence and fence[2].startswith(opened[0]) and not fence[3].strip():
                    self.blocks.append(Block(opened[1], opened[2], number, opened[3]))
                    opened = None
                continue
            if fence:
                opened = (fence[2], fence[3].strip(), number + 1, marker)
            found = MARKER.match(line)
            marker = self.read_marker(found, number) if found else None
            if marker:
                self.markers.append(marker)
        self.unclosed = opened is not None

    @staticmethod
    def read_marker(found, number):
        argument, *options = (found[2] or "").split(" | ")
        pairs = dict(option.split(": ", 1) for option in options)
        if found[1] == "machine":
            pairs["machine"] = argument
        return Marker(found[1], argument.strip(), pairs, number)

    def marker_errors(self):
        """Markers that would otherwise be ignored."""
        followed = {id(block.marker) for block in self.blocks}
        known = {marker.line for marker in self.markers}
        errors = [(number, f"not a marker: {line.strip()}") for number, line in self.prose()
                  if line.startswith("<!--") and number not in known]
        for marker in self.markers:
            if marker.kind in ("output", "code", "worked", "fragment") and id(marker) not in followed:
                errors.append((marker.line, f"{marker.kind}: expected a fenced block in the next line"))
            machine = marker.options.get("machine")
            if machine is not None and not re.match(r"^\d{4}-\d\d-\d\d, \S", machine):
                errors.append((marker.line, f"machine: expected a date and a processor, found '{machine}'"))
        return errors

    def content(self, block):
        return self.lines[block.first:block.last]

    def prose(self):
        """(number, line) of the lines outside of fenced blocks and markers."""
        inside = {n for block in self.blocks for n in range(block.first - 1, block.last + 1)}
        inside |= {marker.line for marker in self.markers}
        return [(n, line) for n, line in enumerate(self.lines) if n not in inside]

    def paragraphs(self):
        """(number, text) of each paragraph, list item, heading and table row, on one line."""
        previous, found = -2, []
        for number, line in self.prose():
            starts = number != previous + 1 or re.match(r"^ *(?:[-*|#>]|\d+\.) ?", line) or not line.strip()
            if starts or not found or not found[-1][1].strip() or found[-1][1].startswith("#"):
                found.append((number, line))
            else:
                found[-1] = (found[-1][0], found[-1][1].rstrip() + " " + line.strip())
            previous = number
        return found

    def anchors(self):
        """The anchors of the headings, as GitHub makes them."""
        found, counts = set(), {}
        for _, line in self.prose():
            heading = re.match(r"^#{1,6} +(.*?)(?: +#+)?$", line)
            if heading:
                anchor = anchor_of(heading[1])
                counts[anchor] = counts.get(anchor, -1) + 1
                found.add(anchor + (f"-{counts[anchor]}" if counts[anchor] else ""))
        found.update(re.findall(r'<a (?:id|name)="([^"]+)"', "\n".join(self.lines)))
        return found


def anchor_of(heading):
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).replace("`", "").replace("*", "")
    return re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-")
