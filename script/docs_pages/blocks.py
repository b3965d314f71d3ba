"""The blocks that follow a marker: what they should contain.

    <!-- output: twingrad check tanh -->                 the output of a command
    <!-- output: … | lines: REGEX -->                    only these lines of it
    <!-- output: … | machine: DATE, PROCESSOR -->        a machine decides its numbers: words are compared,
                                                         except those that `any: REGEX` matches
    <!-- code: cpp/twingrad/layers/relu.h ReLU -->       a class or function of a file, or the whole file
    <!-- image: images/sweep.svg COMMAND -->             a file that the command writes (machine: as above)
    <!-- terminal: images/train.svg COMMAND -->          a picture of the command and its output
    <!-- screenshot: images/report.png FILE -->          a page that another command writes, in Chromium:
                                                         drawn again on request, not compared
    <!-- worked -->                                      named values of the worked example (worked.py)
    <!-- machine: DATE, PROCESSOR -->                    figures of a machine, not compared
    <!-- fragment -->                                    C++ that does not compile by itself
"""

import datetime
import re
import shutil
import subprocess

import terminal
from programs import CommandFailed, select_lines, words_of


def machine_now():
    processor = "unknown processor"
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        for line in file:
            if line.startswith("model name"):
                processor = line.partition(":")[2].strip()
                break
    return f"{datetime.date.today()}, {processor}"


def excerpt(root, argument):
    """The file, or the class or function of this name in it with the comment above it."""
    path, _, name = argument.partition(" ")
    if not (root / path).is_file():
        raise CommandFailed(f"no file {path}")
    lines = (root / path).read_text(encoding="utf-8").rstrip("\n").split("\n")
    if not name:
        return "\n".join(lines)
    declares = re.compile(rf"^(?:class|struct) {re.escape(name)}\b[^;]*$|^[\w:<>&* ]*\b{re.escape(name)}\(")
    start = next((i for i, line in enumerate(lines) if declares.match(line)), None)
    if start is None:
        raise CommandFailed(f"no {name} in {path}")
    last, depth, opened = start, 0, False
    while last < len(lines):
        depth += lines[last].count("{") - lines[last].count("}")
        opened = opened or "{" in lines[last]
        if depth == 0 and (opened or lines[last].endswith(";")):
            break
        last += 1
    while start > 0 and lines[start - 1].startswith("///"):
        start -= 1
    return "\n".join(lines[start:last + 1])


class Blocks:
    """Compares the marked blocks of a page with what they should contain, and rewrites them on request."""

    def __init__(self, root, programs, rewrite):
        self.root, self.programs, self.rewrite = root, programs, rewrite

    def start(self, page):
        for marker in page.markers:
            if marker.kind in ("output", "image", "terminal"):
                self.programs.start(self.command_of(marker))

    def command_of(self, marker):
        if marker.kind in ("image", "terminal"):
            return marker.argument.partition(" ")[2]
        return marker.argument

    def expected(self, marker):
        if marker.kind == "code":
            return excerpt(self.root, marker.argument)
        text = self.programs.output(self.command_of(marker))
        if "lines" in marker.options:
            text = select_lines(text, marker.options["lines"])
        is_example = marker.argument.startswith("docs-")  # a program of tests/docs, which has no command line
        return text if is_example else f"$ {marker.argument}\n{text}"

    def check(self, page):
        """Returns the errors; when rewriting, changes the page instead."""
        errors = self.check_images(page)
        if self.rewrite:
            self.take_screenshots(page)
        gallery = [m.line for m in page.markers if m.kind in ("gallery", "end")]
        for block in reversed(page.blocks):  # from the end, so that line numbers stay valid
            marker = block.marker
            if not marker or marker.kind not in ("output", "code"):
                if not gallery or not gallery[0] < block.first < gallery[-1]:
                    errors += self.unmarked(page, block)
                continue
            try:
                expected = self.expected(marker)
            except CommandFailed as failure:
                errors.append((marker.line, str(failure)))
                continue
            shown = "\n".join(page.content(block))
            compared = comparable(marker)
            if compared(shown) == compared(expected):
                continue
            if self.rewrite:
                page.lines[block.first:block.last] = expected.split("\n")
                if "machine" in marker.options:
                    self.stamp(page, marker)
            else:
                errors.append((block.first, f"{marker.kind} of '{marker.argument}' is stale: "
                               + first_difference(shown, expected, compared)))
        return errors

    @staticmethod
    def stamp(page, marker):
        page.lines[marker.line] = page.lines[marker.line].replace(marker.options["machine"], machine_now())

    def check_images(self, page):
        errors = []
        for marker in (m for m in page.markers if m.kind in ("image", "terminal")):
            name, _, command = marker.argument.partition(" ")
            path = self.root / page.path.parent / name
            expected = self.programs.output(command)
            if marker.kind == "terminal":
                expected = terminal.picture(command, expected)
            else:
                with open(self.programs.file(path.name), encoding="utf-8") as file:
                    expected = file.read()
            shown = path.read_text(encoding="utf-8") if path.is_file() else ""
            compared = comparable(marker)
            if marker.kind == "terminal":
                compared = lambda picture, words=compared: words(terminal.text_of(picture))
            if compared(shown) == compared(expected):
                continue
            if self.rewrite:
                path.parent.mkdir(exist_ok=True)
                path.write_text(expected, encoding="utf-8")
                if "machine" in marker.options:
                    self.stamp(page, marker)
            else:
                errors.append((marker.line, f"{name} is not what '{command}' writes"))
        return errors

    def take_screenshots(self, page):
        chromium = shutil.which("chromium") or shutil.which("chromium-headless-shell")
        for marker in (m for m in page.markers if m.kind == "screenshot"):
            name, _, file = marker.argument.partition(" ")
            if not chromium:
                print(f"docs: {name} stays as it is: chromium is not installed")
                continue
            picture = (self.root / page.path.parent / name).resolve()
            options = ["--headless", "--no-sandbox", "--hide-scrollbars", "--window-size=1100,1320",
                       f"--screenshot={picture}"]
            subprocess.run([chromium, *options, f"file://{self.programs.file(file)}"],
                           stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=120, check=True)
            self.stamp(page, marker)

    @staticmethod
    def unmarked(page, block):
        first = (page.content(block) or [""])[0]
        if block.marker or page.path.parts[0] != "docs":
            return []
        if first.startswith("$ "):
            return [(block.first - 1, "an output without a marker: output or machine")]
        if block.language == "cpp":
            return [(block.first - 1, "a C++ sample without a marker: code or fragment")]
        return []


def comparable(marker):
    """What must be equal: the words if a machine decides the numbers, otherwise the text."""
    if "machine" not in marker.options:
        return str
    return lambda text: words_of(text, marker.options.get("any"))


def first_difference(shown, expected, compared):
    left, right = shown.split("\n"), expected.split("\n")
    for a, b in zip(left, right):
        if compared(a) != compared(b):
            return f"shows '{a.strip()}', expected '{b.strip()}'"
    return f"shows {len(left)} lines, expected {len(right)}"
