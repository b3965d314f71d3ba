#!/usr/bin/env python3
"""Compares docs/break-it.html with the library: break_it_test.py PROGRAM TWINGRAD.

PROGRAM is built from break_it.cpp; TWINGRAD is the command line program. The page's own script runs in node
or, without it, in Chromium.

Exit status: 0 passed, 1 failed, 77 neither node nor Chromium is installed."""
import json
import math
import pathlib
import random
import re
import shutil
import subprocess
import sys
import unittest

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "tests" / "browser"))
import chromium  # noqa: E402

PAGE = ROOT / "docs" / "break-it.html"
BOUND = 1e-12
SHAPES = {"x": (2, 2), "W1": (3, 2), "b1": (1, 3), "W2": (2, 3), "b2": (1, 2)}

# Evaluates to the results for `steps`: all tensors and the first that is wrong.
CALCULATION = """steps.map(({ bug, ...network }) => {
  const [step, correct] = [run(network, bug), run(network)];
  const tensors = Object.fromEntries(Object.keys(step.terms).map(name => [name, step.values(name)]));
  const [first] = wrongTensors(step, correct);
  return { tensors, first: first && first.name };
})"""

# Evaluates to [name, text with numbers, value] for every number of `steps`.
TEXTS = """steps.flatMap(({ bug, ...network }) => Object.entries(run(network, bug).terms).flatMap(
  ([name, rows]) => rows.flat().map(term => [name, term.text(true), term.value])))"""

FUNCTIONS = {"exp": math.exp, "log": math.log, "sqrt": math.sqrt, "max": max, "abs": abs}


def core():
    return re.search(r'<script id="core">\n(.*?)</script>', PAGE.read_text("utf-8"), re.S)[1]


def in_node(node, expression):
    program = f"{core()}\nprocess.stdout.write(JSON.stringify({expression}));"
    result = subprocess.run([node, "-"], input=program, text=True, check=True, stdout=subprocess.PIPE)
    return json.loads(result.stdout)


def in_chromium(program, expression):
    with chromium.Browser(program) as browser:
        browser.open(PAGE)
        return json.loads(browser.evaluate(f"JSON.stringify({expression})"))


def in_page():
    """A function that evaluates an expression where the page's script has run, or None."""
    if node := shutil.which("node"):
        return lambda expression: in_node(node, expression)
    if program := chromium.find():
        return lambda expression: in_chromium(program, expression)
    return None


def drawn(seed):
    numbers = random.Random(seed)
    values = {name: [[round(numbers.uniform(-2, 2), 3) for _ in range(columns)] for _ in range(rows)]
              for name, (rows, columns) in SHAPES.items()}
    return {**values, "t": [[numbers.randrange(2), numbers.randrange(2)]], "lr": 1e-3}


def networks(example):
    """The example of the page, random networks, a kink, tiny gradients and a certain prediction."""
    example = {**example, "lr": 1e-3}
    return [example, *(drawn(seed) for seed in range(4)),
            {**example, "b1": [[-0.3, 0, -0.2]]},  # z1[0,0] = 0
            {**example, "t": [[0, 0]], "b2": [[20, 0]]},
            {**drawn(4), "b2": [[400, -300]]}]


def value_of(text):
    """The value of a formula as the page shows it: "0.5·(−0.4) + [0.2 > 0]"."""
    for sign, operator in (("−", "-"), ("·", "*"), ("²", "**2"), ("≥", ">="), (" = ", " == ")):
        text = text.replace(sign, operator)
    text = re.sub(r"\[([^\]]*)\]", r"(\1)", text)
    text = re.sub(r"√(\d[\d.]*(e-?\d+)?)", r"sqrt(\1)", text).replace("√", "sqrt")
    return eval(text, {"__builtins__": {}}, FUNCTIONS)  # a text of the page


class BreakItTest(unittest.TestCase):
    program = None
    twingrad = None
    evaluate = None

    @classmethod
    def setUpClass(cls):
        cls.bugs = cls.evaluate("BUGS")
        example = cls.evaluate("EXAMPLE")
        cls.steps = []
        for network in networks(example):
            for loss in ("cross_entropy", "softmax_log"):
                names = [bug["name"] for bug in cls.bugs if bug.get("loss", loss) == loss and
                         not (loss == "softmax_log" and bug["name"].startswith("cross_entropy."))]
                cls.steps += [{**network, "loss": loss, "bug": bug} for bug in ["none", *names]]
        # The bugs of Adam have a fixed learning rate.
        cls.steps += [{**drawn(seed), "loss": "cross_entropy", "lr": lr, "bug": "none"}
                      for seed, lr in enumerate((0, 0.1, 3))]
        output = subprocess.run([cls.program], input=json.dumps(cls.steps), text=True, check=True,
                                capture_output=True).stdout
        cls.expected = json.loads(output)
        cls.found = cls.evaluate(f"(steps => {CALCULATION})({json.dumps(cls.steps)})")

    def test_explains_the_bugs_as_the_catalogue(self):
        explanations = {step["bug"]: result["why"] for step, result in zip(self.steps, self.expected)}
        for bug in self.bugs:
            self.assertEqual(bug["why"], explanations[bug["name"]], bug["name"])

    def test_computes_what_the_library_computes(self):
        numbers, worst = 0, 0
        for step, expected, found in zip(self.steps, self.expected, self.found):
            for name, tensor in expected["tensors"].items():
                for row, found_row in zip(tensor, found["tensors"][name], strict=True):
                    for a, b in zip(row, found_row, strict=True):
                        numbers += 1
                        if a is None or b is None:  # NaN or infinite
                            self.assertEqual(a, b, (step, name))
                            continue
                        distance = abs(a - b) / max(1, abs(a))
                        worst = max(worst, distance)
                        self.assertLessEqual(distance, BOUND, (step, name, a, b))
        print(f"{numbers:,} numbers of {len(self.steps)} steps, largest difference {worst:.1e}")
        self.assertGreater(numbers, 10_000)

    def test_formulas_with_numbers_have_the_value_shown(self):
        steps = [{**step, "lr": 0.1} for step in self.steps if step["x"] == self.steps[0]["x"]]
        texts = self.evaluate(f"(steps => {TEXTS})({json.dumps(steps)})")
        self.assertGreater(len(texts), 5000)
        for name, text, value in texts:
            if value is not None:  # the numbers in a text are rounded to four digits
                bound = 3e-3 * max(0.1, abs(value))
                self.assertAlmostEqual(value_of(text), value, delta=bound, msg=(name, text))

    def test_compares_every_tensor_of_the_page(self):
        names = set().union(*(result["tensors"] for result in self.expected))
        shown = set().union(*(result["tensors"] for result in self.found))
        # Inputs; the parts of the mean; and, in Adam, the quotients that only lead to the new weight.
        left_out = {"x", "t", "lr", "max", "losses"} | set(SHAPES)
        self.assertEqual({name for name in shown - left_out if not name.startswith("mean")}, names)

    def test_finds_the_first_wrong_gradient(self):
        of_backward = self.evaluate("GRADIENTS")
        correct = {}
        visible = set()
        for step, expected, found in zip(self.steps, self.expected, self.found):
            key = json.dumps({**step, "bug": "none"})
            if step["bug"] == "none":
                correct[key] = expected["tensors"]
                self.assertNotIn("first", found)
                continue
            right = correct[key]
            names = [name for name, _ in of_backward[step["loss"]] if expected["tensors"][name] != right[name]
                     and not self.same(expected["tensors"][name], right[name])]
            first = found.get("first")
            if step["bug"].startswith("adam."):
                self.assertEqual(names, [])
            elif names:
                self.assertEqual(first, names[0], step)
            else:
                self.assertIsNone(first, step)
            visible |= {step["bug"]} if first else set()
        self.assertEqual(visible | {"log.epsilon_forgotten"}, {bug["name"] for bug in self.bugs})

    def test_names_commands_that_show_the_bug(self):
        commands = self.evaluate("BUGS.map(commandOf)")
        # One for each combination of options; the names of the bugs are tested above.
        distinct = {re.sub("--bug [^ ]+", "", command): command.split() for command in commands}
        self.assertGreater(len(distinct), 2)
        for name, *arguments in distinct.values():
            self.assertEqual(name, "twingrad")
            if arguments[0] == "compare":
                arguments += ["--dataset", "synthetic"]
            status = subprocess.run([self.twingrad, *arguments], stdout=subprocess.DEVNULL).returncode
            self.assertEqual(status, 1, arguments)

    @staticmethod
    def same(tensor, right):
        largest = max((abs(v) for row in right for v in row if v is not None), default=0)
        return all(a == b or (a is not None and b is not None and abs(a - b) <= 1e-10 * largest)
                   for rows in zip(tensor, right) for a, b in zip(*rows))


def main():
    evaluate = in_page()
    if evaluate is None:
        print("not run: neither node nor Chromium is installed; run script/bootstrap --with-browser")
        sys.exit(77)
    BreakItTest.evaluate = staticmethod(evaluate)
    BreakItTest.program, BreakItTest.twingrad = sys.argv[1:3]
    unittest.main(argv=sys.argv[:1] + sys.argv[3:])


if __name__ == "__main__":
    main()
