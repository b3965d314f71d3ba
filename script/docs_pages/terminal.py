"""A picture of a terminal: a command and its output as SVG."""

import html
import re

COLUMNS, ADVANCE, LINE, MARGIN = 120, 7.85, 19, 20
COLORS = (  # what stands out in an output, and its color on the dark background
    (re.compile(r"DIFFERS.*|.*disagree.*"), "#ff9d5c"),
    (re.compile(r"^(?:Data|Network|Training|Machine) .*|^epoch .*"), "#a9b4c0"),
    (re.compile(r".*gradients.* agree to .*"), "#7ee0a1"),
    (re.compile(r".*\d×.*"), "#8cc8ff"),
)


def rows_of(text):
    """The lines as a terminal of this width breaks them, each with its color."""
    for line in text.split("\n"):
        color = next((color for pattern, color in COLORS if pattern.search(line)), "#e8edf2")
        for start in range(0, max(1, len(line)), COLUMNS):
            yield line[start:start + COLUMNS], color


def text_of(picture):
    """The text that the picture shows, before it was broken into rows."""
    found = re.search(r"<desc>(.*?)</desc>", picture, re.S)
    return html.unescape(found[1]) if found else ""


def picture(command, output):
    rows = [(f"$ {command}", "#ffffff"), *rows_of(output)]
    width, height = round(COLUMNS * ADVANCE) + 2 * MARGIN, len(rows) * LINE + 2 * MARGIN + 16
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" role="img">',
        f"<title>{html.escape('$ ' + command)}</title>",
        f"<desc>{html.escape(output)}</desc>",
        f'<rect width="{width}" height="{height}" rx="10" fill="#12171d"/>',
        *(f'<circle cx="{MARGIN + 18 * i}" cy="19" r="5" fill="#4a5561"/>' for i in range(3)),
        '<g font-family="ui-monospace, Menlo, Consolas, \'DejaVu Sans Mono\', monospace" font-size="13">',
    ]
    for number, (row, color) in enumerate(rows):
        if row:
            y = MARGIN + 32 + number * LINE
            length = f' textLength="{len(row) * ADVANCE:.2f}" lengthAdjust="spacingAndGlyphs"'
            lines.append(f'<text x="{MARGIN}" y="{y}" fill="{color}" xml:space="preserve"{length}>'
                         f"{html.escape(row)}</text>")
    return "\n".join([*lines, "</g>", "</svg>", ""])
