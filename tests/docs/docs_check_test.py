"""What `script/docs --check` must find: each test breaks a page in one way and expects one error."""

import sys
import tempfile
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "script" / "docs_pages"))

import arithmetic  # noqa: E402
import terminal  # noqa: E402
from blocks import Blocks  # noqa: E402
from gallery import Sources, cause_of, sentence  # noqa: E402
from links import Links  # noqa: E402
from options import Commands  # noqa: E402
from page import Page, anchor_of  # noqa: E402
from programs import select_lines, words_of  # noqa: E402
from worked import Worked  # noqa: E402


class Programs:
    """Programs with known outputs."""

    OUTPUTS = {
        "docs-worked-example": '{"z": [[0.4, -0.2]], "x": 0.5, "w": 0.8, "n": 0.0, "g₁": -0.184943716}',
        "twingrad --help": "Commands:\n  check  Check.\n",
        "twingrad check --help": "  --bug NAME  plant\n  --sweep\n",
        "twingrad check --list-bugs": "relu.upstream_forgotten  why\n",
        "twingrad check tanh": "tanh 1.5e-08 agrees\nother line",
    }

    def start(self, command):
        pass

    def output(self, command):
        return self.OUTPUTS[command]


class Case(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.root = Path(self.folder.name).resolve()
        for name in ("docs", "script", "recipes"):
            (self.root / name).mkdir()
        (self.root / "script" / "test").write_text("--no-install")
        (self.root / "recipes" / "small.recipe").write_text("")

    def tearDown(self):
        self.folder.cleanup()

    def page(self, text, name="docs/page.md"):
        (self.root / name).write_text(text, encoding="utf-8")
        return Page.read(self.root, Path(name))


class Equations(unittest.TestCase):
    def assert_right(self, line):
        self.assertEqual(arithmetic.wrong_equations(line), [])
        self.assertGreater(arithmetic.count_equations(line), 0, line)

    def assert_wrong(self, line):
        self.assertEqual(len(arithmetic.wrong_equations(line)), 1, line)

    def test_right(self):
        for line in ("0.10 · 0.50 + 0.20 · (−0.30) + 0.10 = 0.09", "gives 2 + 3 = 5, and", "1/√2 = 0.7071",
                     "`exp(0.4) / (exp(0.4) + exp(−0.28)) ≈ 0.6637`", "$2 \\cdot 3 = 6$",
                     "128 · 784 = 100,352",
                     "2^−24 = 6.0e-8", "(0.4099 + 0.6733) / 2 = 0.5416", "log(2) = 0.6931", "max(1, 3)² = 9"):
            self.assert_right(line)

    def test_changed_sign(self):
        self.assert_wrong("0.10 · 0.50 + 0.20 · 0.30 + 0.10 = 0.09")
        self.assert_wrong("0.10 · 0.50 + 0.20 · (−0.30) − 0.10 = 0.09")
        self.assert_wrong("−0.1681 + 0.2450 = −0.0769")

    def test_changed_digit(self):
        self.assert_wrong("1/√2 = 0.7072")
        self.assert_wrong("128 · 784 = 100,353")
        self.assert_wrong("(0.4099 + 0.6733) / 2 = 0.5418")

    def test_paragraphs_are_joined(self):
        text = "Of 128 ·\n784 = 5 it\n- one item\n  goes on\n\n# Heading\ntext"
        page = Page(Path("a.md"), text.split("\n"))
        page.find_blocks()
        texts = [text for _, text in page.paragraphs()]
        self.assertEqual(texts, ["Of 128 · 784 = 5 it", "- one item goes on", "", "# Heading", "text"])

    def test_symbols_are_not_equations(self):
        for line in ("a + 2 = 5", "x1 = 3", "`--lr 0.1`", "h = ∛ε = 6e-6", "x − 3 = 2", "w[0] = 1"):
            self.assertEqual(arithmetic.wrong_equations(line), [], line)


class WorkedExample(Case):
    def errors(self, line):
        return Worked(Programs()).check(self.page(f"<!-- worked -->\n```\n{line}\n```\n"))

    def test_right(self):
        self.assertEqual(self.errors("z[0,0] = x·w = 0.5·0.8 = 0.4"), [])
        self.assertEqual(self.errors("z = [ 0.4  −0.2 ]"), [])
        self.assertEqual(self.errors("g₁ = −0.1849    # rounded"), [])

    def test_changed_sign(self):
        self.assertEqual(len(self.errors("z[0,0] = x·w = −0.5·0.8 = 0.4")), 1)
        self.assertEqual(len(self.errors("z[0,0] = −x·w = 0.5·0.8 = 0.4")), 1)
        self.assertEqual(len(self.errors("z = [ 0.4  0.2 ]")), 1)
        self.assertEqual(len(self.errors("g₁ = 0.1849")), 1)

    def test_changed_sign_of_a_term_that_is_zero(self):
        self.assertEqual(self.errors("z[0,0] = x·w + n·x − n = 0.5·0.8 + 0·0.5 − 0 = 0.4"), [])
        self.assertEqual(len(self.errors("z[0,0] = x·w + n·x − n = 0.5·0.8 − 0·0.5 − 0 = 0.4")), 1)
        self.assertEqual(len(self.errors("z[0,0] = x·w − n·x − n = 0.5·0.8 + 0·0.5 − 0 = 0.4")), 1)
        self.assertEqual(len(self.errors("z[0,0] = x·w + n·x − n = 0.5·0.8 + 0·(−0.5) − 0 = 0.4")), 1)

    def test_stale_value(self):
        self.assertEqual(len(self.errors("z[0,0] = 0.41")), 1)
        self.assertEqual(len(self.errors("g₁ = −0.1850")), 1)
        self.assertEqual(len(self.errors("z = [ 0.4  −0.2  0.0 ]")), 1)

    def test_unknown_name(self):
        self.assertEqual(len(self.errors("y[0,0] = 0.4")), 1)
        self.assertEqual(len(self.errors("z[0,0] = q·w = 0.4")), 1)


class Outputs(Case):
    def errors(self, text):
        return Blocks(self.root, Programs(), rewrite=False).check(self.page(text))

    def test_output(self):
        block = "```\n$ twingrad check tanh\ntanh 1.5e-08 agrees\nother line\n```\n"
        self.assertEqual(self.errors("<!-- output: twingrad check tanh -->\n" + block), [])
        stale = block.replace("1.5e-08", "1.6e-08")
        self.assertEqual(len(self.errors("<!-- output: twingrad check tanh -->\n" + stale)), 1)

    def test_output_of_a_machine_is_compared_without_its_numbers(self):
        marker = "<!-- output: twingrad check tanh | lines: tanh | machine: 2026-01-01, some processor -->\n"
        block = "```\n$ twingrad check tanh\ntanh 9e-09 agrees\n…\n```\n"
        self.assertEqual(self.errors(marker + block), [])
        self.assertEqual(len(self.errors(marker + block.replace("agrees", "passes"))), 1)

    def test_a_picture_of_a_terminal_shows_the_output(self):
        marker = "<!-- terminal: train.svg twingrad check tanh | machine: 2026-01-01, some processor -->\n"
        self.assertEqual(len(self.errors(marker)), 1, "there is no picture")
        page = self.page(marker)
        self.assertEqual(Blocks(self.root, Programs(), rewrite=True).check(page), [])
        picture = self.root / "docs" / "train.svg"
        shown = picture.read_text()
        self.assertIn(">$ twingrad check tanh</text>", shown)
        self.assertIn(">other line</text>", shown)
        self.assertEqual(self.errors(marker), [])
        picture.write_text(shown.replace("1.5e-08", "9e-09"))
        self.assertEqual(self.errors(marker), [], "a machine decides its numbers")
        picture.write_text(shown.replace("agrees", "differs"))
        self.assertEqual(len(self.errors(marker)), 1)

    def test_long_lines_of_a_terminal_are_broken(self):
        shown = terminal.picture("a", "x" * (terminal.COLUMNS + 1) + " <&>")
        self.assertIn(f">{'x' * terminal.COLUMNS}</text>", shown)
        self.assertIn(">x &lt;&amp;&gt;</text>", shown)
        self.assertEqual(terminal.text_of(shown), "x" * (terminal.COLUMNS + 1) + " <&>")

    def test_code(self):
        layer = "/// What it is.\nclass Layer {\n  int x;\n};\n"
        (self.root / "layer.h").write_text(f"#pragma once\n{layer}int other;\n")
        block = f"```cpp\n{layer}```\n"
        self.assertEqual(self.errors("<!-- code: layer.h Layer -->\n" + block), [])
        self.assertEqual(len(self.errors("<!-- code: layer.h Layer -->\n" + block.replace("x;", "y;"))), 1)
        self.assertEqual(len(self.errors("<!-- code: layer.h Renamed -->\n" + block)), 1)

    def test_every_output_and_sample_has_a_marker(self):
        self.assertEqual(len(self.errors("```\n$ twingrad check\nall agree\n```\n")), 1)
        self.assertEqual(len(self.errors("```cpp\nint x;\n```\n")), 1)

    def test_markers_are_not_ignored(self):
        self.assertEqual(self.page("<!-- machine: 2026-01-01, x -->\n| a |\n").marker_errors(), [])
        for text in ("<!-- outputs: twingrad -->\n```\n```\n", "<!-- worked -->\n\n```\n```\n",
                     "<!-- machine: some time -->\n| a |\n"):
            self.assertEqual(len(self.page(text).marker_errors()), 1, text)

    def test_rewrites(self):
        page = self.page("<!-- output: twingrad check tanh | lines: other -->\n```\nold\n```\n")
        self.assertEqual(Blocks(self.root, Programs(), rewrite=True).check(page), [])
        self.assertEqual(page.lines[2:5], ["$ twingrad check tanh", "…", "other line"])


class LinksAndNames(Case):
    def link_errors(self, text):
        return Links(self.root).check(self.page(text))

    def command_errors(self, text):
        return Commands(self.root, Programs()).check(self.page(text))

    def test_links(self):
        self.page("# Two words\n\n## `a.b` and C++\n", "docs/other.md")
        right = "[a](other.md#two-words) [b](other.md#ab-and-c) [c](https://x.y)\n"
        self.assertEqual(self.link_errors(right), [])
        self.assertEqual(len(self.link_errors("[a](other.md#two-word)\n")), 1)
        self.assertEqual(len(self.link_errors("[a](missing.md)\n")), 1)
        self.assertEqual(len(self.link_errors("[over two\nlines](missing.md)\n")), 1)
        self.assertEqual(self.link_errors("`[a](missing.md)`\n"), [])

    def test_options(self):
        self.assertEqual(self.command_errors("Run `twingrad check tanh --sweep`, `--bug` shows more.\n"), [])
        self.assertEqual(len(self.command_errors("Run `twingrad check tanh --sweeps`.\n")), 1)
        self.assertEqual(len(self.command_errors("```\ntwingrad check --bogus 1\n```\n")), 1)
        self.assertEqual(len(self.command_errors("The option `--swept` does it.\n")), 1)
        self.assertEqual(len(self.command_errors("`twingrad verify --sweep`\n")), 1)

    def test_names(self):
        self.assertEqual(self.command_errors("`twingrad check --bug relu.upstream_forgotten`\n"), [])
        self.assertEqual(len(self.command_errors("`twingrad check --bug relu.renamed_bug`\n")), 1)

    def test_anchors(self):
        self.assertEqual(anchor_of("11. Adam: the first step"), "11-adam-the-first-step")
        self.assertEqual(anchor_of("[Layer](x.md) in `layer.h`"), "layer-in-layerh")


class GalleryParts(unittest.TestCase):
    def wrong(self, source, entry, mistake, why):
        sources = Sources(Path("."))
        sources.texts["x"] = source
        return sources.wrong_code("x", {"name": f"{entry}.{mistake}", "entry": entry, "why": why})[1]

    def test_code_of_a_bug(self):
        named = '{{name + ".sign", "a, b", [](const Backward& b) { return -b; }}}'
        self.assertEqual(self.wrong(named, "mse", "sign", "a, b"), "return -b;")
        followed = '{"gelu", {"density", "w" "hy", [](T x, T) { return x; }, {}}}'
        self.assertEqual(self.wrong(followed, "gelu", "density", "why"), "return x;")
        set_later = 'f<L>("mse", {"two", "why", {}}, [](const Tensor& d) { return d; })'
        self.assertEqual(self.wrong(set_later, "mse", "two", "why"), "return d;")
        options = '{wrong_options("sgd.off", "why", {}), bug("sgd.on", "why", 1)}'
        self.assertEqual(self.wrong(options, "sgd", "off", "why"), "make_optimizer({})")

    def test_small_parts(self):
        self.assertEqual(sentence("the sum"), "The sum")
        self.assertEqual(sentence("x ≥ 0"), "x ≥ 0")
        row = "  BAD  y [2]  x [2]  4  2  1.00e+00  1.00e+00  extra 1/N: N = 4; a mean"
        self.assertEqual(cause_of(row), "extra 1/N; a mean")
        self.assertEqual(words_of("a 1.5e-07  b [2, 3]"), words_of("a 3 b [7, 7]"))
        self.assertEqual(select_lines("a\nb\nc\nb", "b"), "…\nb\n…")


if __name__ == "__main__":
    unittest.main()
