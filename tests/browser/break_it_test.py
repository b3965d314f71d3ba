#!/usr/bin/env python3
"""Opens docs/break-it.html in headless Chromium: break_it_test.py [--screenshots DIRECTORY].

Exit status: 0 passed, 1 failed, 77 Chromium is not installed."""
import argparse
import pathlib
import re
import sys
import time
import unittest

import chromium

FOLDER = pathlib.Path(__file__).resolve().parent
PAGE = FOLDER.parent.parent / "docs" / "break-it.html"

# The first wrong tensor and its layer, at the example's numbers. None: no number changes.
LOSS, LINEAR, RELU, ADAM = "loss, cross_entropy", "layer 2, linear", "layer 1, relu", "optimizer, adam"
CHAIN_LOSS = "loss, negative_log_likelihood"
FIRST_WRONG = {
    "cross_entropy.missing_one_over_n": ("grad_logits", LOSS),
    "cross_entropy.sign": ("grad_logits", LOSS),
    "cross_entropy.one_hot_forgotten": ("grad_logits", LOSS),
    "relu.slope_one_at_zero": None,
    "relu.upstream_forgotten": ("grad_z1", RELU),
    "relu.mask_from_gradient": ("grad_z1", RELU),
    "linear.weight_not_filled": ("grad_W2", LINEAR),
    "linear.bias_of_one_row": ("grad_b2", LINEAR),
    "linear.bias_averaged": ("grad_b2", LINEAR),
    "adam.no_correction_of_the_mean": ("mean.W1", ADAM),
    "adam.no_correction_of_the_square": ("mean_sq.W1", ADAM),
    "adam.epsilon_inside_the_root": ("new.W1", ADAM),
    "adam.epsilon_before_the_correction": ("new.W1", ADAM),
    "adam.square_not_squared": ("exp_avg_sq.W1", ADAM),
    "softmax.diagonal_only": ("grad_logits", "layer 3, softmax"),
    "softmax.sum_over_the_wrong_axis": None,
    "softmax.sum_treated_as_constant": ("grad_logits", "layer 3, softmax"),
    "log.epsilon_forgotten": None,
    "log.derivative_of_exp": ("grad_p", "layer 4, log"),
    "negative_log_likelihood.missing_one_over_n": ("grad_log_p", CHAIN_LOSS),
    "negative_log_likelihood.sign": ("grad_log_p", CHAIN_LOSS),
}
SHOWN = {"relu.slope_one_at_zero": "grad_z1", "softmax.sum_over_the_wrong_axis": "grad_logits",
         "log.epsilon_forgotten": "grad_p"}  # after the button "Show it"
KEYS = {"Tab": 9, "Enter": 13, "End": 35, "Home": 36, "ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39,
        "ArrowDown": 40}


class BreakItTest(unittest.TestCase):
    browser = None
    screenshots = None

    def setUp(self):
        self.browser.set_scripts(True)
        self.browser.set_width(1280)
        self.browser.set_theme("light")
        self.browser.open(PAGE)

    def tearDown(self):
        self.assertEqual(self.browser.errors, [])
        self.assertEqual(self.browser.requests, [PAGE.as_uri()])

    def text(self, selector):
        return self.browser.evaluate(f"document.querySelector({selector!r}).innerText")

    def cell(self, name):
        return self.text(f"td[data-cell='{name}'] .value")

    def plant(self, bug):
        self.browser.evaluate(f"""(() => {{ const bug = document.querySelector("#bug"); bug.value = "{bug}";
            bug.dispatchEvent(new Event("change")); }})()""")

    def type_into(self, selector, value):
        self.browser.evaluate(f"""(() => {{ const field = document.querySelector({selector!r});
            field.focus(); field.select(); }})()""")
        self.browser.call("Input.insertText", text=value)

    def finish_animations(self):
        self.browser.evaluate("document.getAnimations().forEach(animation => animation.finish())")

    def press(self, key, count=1):
        text = {"text": "\r"} if key == "Enter" else {}
        for _ in range(count):
            for kind in ("keyDown" if text else "rawKeyDown", "keyUp"):
                self.browser.call("Input.dispatchKeyEvent", type=kind, key=key, code=key,
                                  windowsVirtualKeyCode=KEYS[key], **(text if kind == "keyDown" else {}))

    def focused(self):
        return self.browser.evaluate("""(() => { const at = document.activeElement;
            return at.id || at.closest("[data-cell]")?.dataset.cell || at.tagName; })()""")

    def first_wrong_cells(self):
        return self.browser.evaluate("[...document.querySelectorAll('td.first')].map(td => td.dataset.cell)")

    def assert_first_wrong(self, name, layer):
        cells = self.first_wrong_cells()
        self.assertGreater(len(cells), 0)
        self.assertEqual({cell.split(",")[0] for cell in cells}, {name})
        finding = self.text(".finding")
        self.assertTrue(finding.startswith("First wrong"), finding)
        self.assertTrue(finding.endswith(layer), finding)
        values = self.browser.evaluate("[...document.querySelectorAll('td.first')].map(td => td.innerText)")
        for value in values:
            self.assertEqual(len(set(value.split("\n"))), 2, values)  # wrong and right

    def test_each_bug_lights_up_the_first_wrong_gradient(self):
        names = self.browser.evaluate("[...document.querySelector('#bug').options].map(each => each.value)")
        self.assertEqual(names, ["none", *FIRST_WRONG])
        for bug, expected in FIRST_WRONG.items():
            with self.subTest(bug=bug):
                self.plant(bug)
                if expected:
                    self.assert_first_wrong(*expected)
                else:
                    self.assertEqual(self.first_wrong_cells(), [])
                    self.assertIn("changes nothing", self.text(".finding"))
                    self.browser.evaluate("document.querySelector('#show').click()")
                    self.assertEqual({cell.split(",")[0] for cell in self.first_wrong_cells()}, {SHOWN[bug]})
                self.browser.evaluate("document.querySelector('#reset').click()")
                self.assertEqual(self.first_wrong_cells(), [])

    def test_right_values_and_central_differences(self):
        self.plant("linear.bias_of_one_row")
        self.assertEqual(self.text("td[data-cell='grad_b2,0,0']"), "−0.1681\n0.0769")
        self.assertIn("right is 0.0769, and central differences give 0.07687", self.text(".detail"))
        self.browser.evaluate("document.querySelector('#go').click()")
        lines = self.text("#explain-text").split("\n")
        self.assertEqual([line for line in lines if line],
                         ["grad_b2[0] = grad_logits[0,0] = −0.1681 = −0.1681",
                          "right: grad_logits[0,0] + grad_logits[1,0] = −0.1681 + 0.245 = 0.0769",
                          "central difference: 0.07687"])

    def test_an_edit_changes_forward_backward_and_update(self):
        names = ("z1,0,0", "loss,0,0", "grad_logits,0,0", "grad_W1,0,0", "new.W1,0,0")
        before = [self.cell(name) for name in names]
        self.type_into("td[data-cell='W1,0,0'] input", "0.9")
        after = [self.cell(name) for name in names]
        self.assertTrue(all(a != b for a, b in zip(before, after)), (before, after))
        self.assertEqual(after[0], "0.8000")
        self.assertRegex(self.text(".detail"), r"all 33 correct gradients .* \d+ numbers changed\.")
        self.type_into("td[data-cell='x,1,0'] input", "")
        self.assertIn("Expected a number", self.text(".finding"))
        self.assertEqual(self.cell("z1,0,0"), "0.8000")
        self.type_into("#lr", "0")
        self.assertEqual(self.cell("new.W1,0,0"), "0.9000")

    def test_a_label_changes_the_loss(self):
        before = self.cell("loss,0,0")
        self.browser.evaluate("""(() => {
            const label = document.querySelector("td[data-cell='t,0,1'] select");
            label.value = "0"; label.dispatchEvent(new Event("change")); })()""")
        self.assertNotEqual(self.cell("loss,0,0"), before)
        self.assertEqual(self.cell("grad_logits,1,0"), "−0.2550")

    def test_the_pointer_shows_a_formula_and_its_operands(self):
        x, y = self.browser.evaluate("""(() => {
            const cell = document.querySelector("td[data-cell='z1,0,0']");
            cell.scrollIntoView({ block: "center" }); const box = cell.getBoundingClientRect();
            return [box.x + 5, box.y + 5]; })()""")
        self.browser.mouse(x, y)
        self.assertEqual(self.text("#explain-text"), "z1[0,0] = x[0,0]·W1[0,0] + x[0,1]·W1[0,1] + b1[0] = "
                         "1·0.5 + 0.5·(−0.4) + 0.1 = 0.4")
        cells = "[...document.querySelectorAll('.operand')].map(td => td.dataset.cell)"
        operands = self.browser.evaluate(cells)
        self.assertEqual(sorted(operands), ["W1,0,0", "W1,0,1", "b1,0,0", "x,0,0", "x,0,1"])

    def test_works_with_the_keyboard_alone(self):
        self.press("Tab", 2)
        self.assertEqual(self.focused(), "bug")
        self.press("ArrowDown", 8)  # linear.bias_of_one_row
        self.assert_first_wrong("grad_b2", LINEAR)
        while self.focused() != "go":
            self.press("Tab")
        self.press("Enter")
        self.assertEqual(self.focused(), "grad_b2,0,0")
        outline = self.browser.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        self.assertEqual(outline, "solid")
        self.press("ArrowRight")
        self.assertEqual(self.focused(), "grad_b2,0,1")
        self.assertIn("grad_b2[1] =", self.text("#explain-text"))

        self.browser.open(PAGE)
        seen = set()
        for _ in range(80):
            self.press("Tab")
            seen.add(self.focused())
        for name in ("bug", "loss", "lr", "random", "reset", "x,0,0", "t,0,1", "W1,2,1", "b1,0,2", "W2,0,0",
                     "b2,0,1"):
            self.assertIn(name, seen)
        grids = self.browser.evaluate("""[...document.querySelectorAll("[role=grid]")]
            .filter(grid => grid.checkVisibility())
            .map(grid => grid.querySelector("[data-cell]").dataset.cell)""")
        self.assertGreater(len(grids), 12)
        self.assertEqual(set(grids) - seen, set())
        self.assertIn("BODY", seen)  # Tab leaves the page

    def test_moves_in_a_table_with_arrow_keys(self):
        self.browser.evaluate("document.querySelector(\"td[data-cell='grad_W1,0,0']\").focus()")
        for key, expected in (("ArrowDown", "grad_W1,1,0"), ("ArrowRight", "grad_W1,1,1"),
                              ("ArrowDown", "grad_W1,2,1"), ("ArrowDown", "grad_W1,2,1"),
                              ("Home", "grad_W1,2,0"), ("ArrowUp", "grad_W1,1,0")):
            self.press(key)
            self.assertEqual(self.focused(), expected)

    def test_is_announced_and_named(self):
        self.assertEqual(self.browser.evaluate("document.querySelector('.finding').ariaLive"), "polite")
        parts = '[...document.querySelectorAll("input, select, button:not([hidden]), [role=grid]")]'
        unnamed = self.browser.evaluate(parts + """.filter(part => !part.ariaLabel && !part.labels?.length &&
            (part.matches("[role=grid], select") || !part.textContent)).length""")
        self.assertEqual(unnamed, 0)

    def test_shows_the_same_numbers_without_scripts(self):
        pattern = r'<td data-cell="([^"]+)"><span class="value">([^<]+)</span>'
        static = dict(re.findall(pattern, PAGE.read_text("utf-8")))
        shown = self.browser.evaluate("""Object.fromEntries(
            [...document.querySelectorAll("td[data-cell] .value")]
            .map(value => [value.parentNode.dataset.cell, value.textContent]))""")
        self.assertGreater(len(shown), 130)
        self.assertEqual({name: static[name] for name in shown}, shown)
        self.assertEqual(self.text("#loss-after"), "0.3522")
        self.browser.set_scripts(False)
        self.browser.open(PAGE)
        boxes = self.browser.boxes(".tensor:not([hidden]) td[data-cell], .table td[data-cell]")
        self.assertGreaterEqual(len(boxes), 150)
        self.assertTrue(all(width > 20 and height > 15 for width, height in boxes), boxes)
        self.assertEqual(len(self.browser.boxes("noscript p")), 1)

    def test_does_not_scroll_sideways(self):
        for width in (320, 360, 768, 1024, 1231, 1280, 1920):
            self.browser.set_width(width)
            for bug in ("none", "linear.weight_not_filled", "relu.mask_from_gradient",
                        "softmax.diagonal_only", "log.epsilon_forgotten"):
                self.plant(bug)
                self.browser.evaluate("document.querySelector('#show:not([hidden])')?.click()")
                widths = self.browser.evaluate("[document.documentElement.scrollWidth, innerWidth]")
                self.assertLessEqual(widths[0], width, (width, bug))
                self.assertLessEqual(widths[1], width, (width, bug))
                if width >= 1280:
                    graph = self.browser.evaluate("(graph => [graph.scrollWidth, graph.clientWidth])"
                                                  "(document.querySelector('.graph'))")
                    self.assertLessEqual(graph[0], graph[1], (width, bug))
                self.browser.evaluate("document.querySelector('#reset').click()")

    def test_has_the_contrast_of_wcag_aa(self):
        for theme in ("light", "dark"):
            self.browser.set_theme(theme)
            for bug in ("none", "relu.mask_from_gradient", "adam.square_not_squared"):
                self.plant(bug)
                self.browser.evaluate("document.querySelector('#go:not([hidden])')?.click()")
                self.finish_animations()
                result = self.browser.evaluate(chromium.contrast())
                self.assertGreater(result["texts"], 200)
                self.assertEqual(result["low"], [], (theme, bug))

    def test_an_address_names_a_bug(self):
        self.browser.evaluate("location.hash = 'relu.mask_from_gradient'")
        time.sleep(0.2)
        self.assert_first_wrong("grad_z1", RELU)
        self.browser.evaluate("location.hash = '<img src=x onerror=alert(1)>'")
        time.sleep(0.2)
        self.assertEqual(self.first_wrong_cells(), [])

    def test_random_numbers_are_right(self):
        for _ in range(20):
            self.browser.evaluate("document.querySelector('#random').click()")
            self.assertIn("every number is right", self.text(".finding"))
            self.assertIn("Central differences agree", self.text(".detail"))
            self.assertNotIn("not smooth", self.text(".detail"))

    def test_screenshots(self):
        if not self.screenshots:
            self.skipTest("without --screenshots")
        for name, width, height, theme, bug in (
                ("light-1280", 1280, 1700, "light", "relu.mask_from_gradient"),
                ("dark-1280", 1280, 1700, "dark", "softmax.diagonal_only"),
                ("none-1280", 1280, 1500, "light", "none"),
                ("light-360", 360, 800, "light", "linear.bias_of_one_row"),
                ("long-360", 360, 5200, "dark", "linear.bias_of_one_row"),
                ("adam-800", 800, 1000, "dark", "adam.epsilon_inside_the_root")):
            self.browser.set_width(width, height)
            self.browser.set_theme(theme)
            self.browser.evaluate("document.querySelector('#reset').click()")
            self.plant(bug)
            if height < 1200:
                self.browser.evaluate("document.querySelector('#go:not([hidden])')?.click()")
            self.finish_animations()
            self.browser.screenshot(self.screenshots / f"break-{name}.png")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--screenshots", type=pathlib.Path, help="write screenshots there")
    arguments, rest = parser.parse_known_args()
    program = chromium.find()
    if program is None:
        print("not run: Chromium is not installed; install it with script/bootstrap --with-browser")
        sys.exit(77)
    with chromium.Browser(program) as browser:
        BreakItTest.browser = browser
        BreakItTest.screenshots = arguments.screenshots
        result = unittest.main(argv=[sys.argv[0], *rest], exit=False).result
    sys.exit(0 if result.wasSuccessful() else 1)


if __name__ == "__main__":
    main()
