#!/usr/bin/env python3
"""Opens reports in headless Chromium: report_test.py PROGRAM [--screenshots DIRECTORY].

Exit status: 0 passed, 1 failed, 77 Chromium is not installed."""
import argparse
import json
import pathlib
import shutil
import struct
import subprocess
import sys
import tempfile
import unittest
import urllib.parse

import chromium

MOST_BYTES = 300_000
HOSTILE_RUN = "<img src=x onerror=window.hostile=1>\"'&amp;"
HOSTILE_DATA = "</title><script>window.hostile=1</script><b>"
FIGURES = {"both": 5, "single": 3, "long": 5, "comparison": 2}  # plots in each report


def write_data_set(directory):
    """40 training and 20 test images of 8 × 8 pixels."""
    directory.mkdir(parents=True)
    for part, count in (("train", 40), ("t10k", 20)):
        pixels = bytes((i * 37 + p * (i % 10 + 1)) % 256 for i in range(count) for p in range(64))
        (directory / f"{part}-images-idx3-ubyte").write_bytes(struct.pack(">4I", 2051, count, 8, 8) + pixels)
        labels = bytes(i % 10 for i in range(count))
        (directory / f"{part}-labels-idx1-ubyte").write_bytes(struct.pack(">2I", 2049, count) + labels)


def lengthen(run, epochs):
    """Repeats the events of the last epoch of a run, with losses that fall."""
    events = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    last = [event for event in events if event["epoch"] == max(event["epoch"] for event in events)]
    lines = []
    for epoch in range(1, epochs + 1):
        for event in last:
            more = {"step": 16 * epoch} if event["event"] == "agreement" else {"train_loss": 1 + 1000 / epoch}
            lines.append(json.dumps({**event, "epoch": epoch, **more}))
    (run / "metrics.jsonl").write_text("\n".join(lines) + "\n")


class Reports:
    """Runs, and the reports of each."""

    def __init__(self, program, directory):
        self.program, self.directory = program, directory
        data = directory / ("data" + HOSTILE_DATA)
        write_data_set(data)
        both, single, long = directory / HOSTILE_RUN, directory / "single", directory / "long"
        options = ("train", "--quiet", "--hidden", "16", "--epochs", "3", "--batch-size", "8", "--dataset")
        self.run(*options, str(data), "--out", both)
        self.run(*options, "synthetic", "--twins", "manual", "--out", single)
        shutil.copytree(both, long)
        lengthen(long, 10_000)
        self.run("report", both, single, long, "--out", directory / "comparison.html")
        self.run_directory = both
        self.pages = {"both": both / "report.html", "single": single / "report.html",
                      "long": long / "report.html", "comparison": directory / "comparison.html"}

    def run(self, *arguments):
        subprocess.run([self.program, *map(str, arguments)], check=True, stdout=subprocess.DEVNULL,
                       cwd=self.directory)


class ReportTest(unittest.TestCase):
    reports = None
    browser = None
    screenshots = None

    def setUp(self):
        self.browser.set_scripts(True)
        self.browser.set_width(1280)
        self.browser.set_theme("light")

    def test_renders_without_errors_and_requests(self):
        for name, path in self.reports.pages.items():
            with self.subTest(page=name):
                seconds = self.browser.open(path)
                print(f"{name}: {path.stat().st_size:,} bytes, opened in {1000 * seconds:.0f} ms")
                self.assertLessEqual(path.stat().st_size, MOST_BYTES)
                self.assertEqual(self.browser.errors, [])
                self.assertEqual(self.browser.requests, [path.resolve().as_uri()])
                for selector in ("svg.plot", "svg.plot[role=img][aria-label]:not([aria-label=''])"):
                    self.assertEqual(len(self.browser.boxes(selector)), FIGURES[name], selector)
                broken = "[...document.images].filter(image => !image.naturalWidth || !image.alt).length"
                self.assertEqual(self.browser.evaluate(broken), 0)

    def test_shows_all_figures_without_scripts(self):
        for name, path in self.reports.pages.items():
            with self.subTest(page=name):
                self.browser.open(path)
                selectors = ("svg.plot", "svg.plot .curve", "img", "table")
                expected = [len(self.browser.boxes(selector)) for selector in selectors]
                self.browser.set_scripts(False)
                self.browser.open(path)
                for selector, count in zip(selectors, expected):
                    boxes = self.browser.boxes(selector)
                    self.assertEqual(len(boxes), count, selector)
                    self.assertTrue(all(min(box) > 0 for box in boxes), (selector, boxes))
                self.browser.set_scripts(True)

    def tip(self):
        return self.browser.evaluate(
            "[...document.querySelectorAll('.tip:not([hidden])')].map(tip => tip.innerText).join('|')")

    def centre_of_end(self):
        """The last point of the first curve on the screen."""
        return self.browser.evaluate("""(() => {
          const curve = document.querySelector("svg.plot .curve");
          curve.closest("figure").scrollIntoView({ block: "center" });
          const [x, y] = curve.getAttribute("d").split("L").pop().split(" ").map(Number);
          const point = new DOMPoint(x - 3, y).matrixTransform(curve.getScreenCTM());
          return [point.x, point.y]; })()""")

    def test_shows_values_under_the_pointer(self):
        lines = (self.reports.run_directory / "metrics.jsonl").read_text().splitlines()
        events = [json.loads(line) for line in lines]
        last = [event for event in events if event.get("twin") == "manual"][-1]
        self.browser.open(self.reports.pages["both"])
        self.assertEqual(self.tip(), "")
        self.browser.mouse(*self.centre_of_end())
        lines = self.tip().split("\n")
        self.assertEqual(lines[0], "epoch 3")
        self.assertIn(f"manual train {last['train_loss']:.4g}", " ".join(self.tip().split()))
        self.assertEqual(len(lines), 5)
        self.browser.mouse(1, 1)
        self.assertEqual(self.tip(), "")

    def test_shows_values_after_a_tap(self):
        self.browser.set_width(360)
        self.browser.call("Emulation.setTouchEmulationEnabled", enabled=True)
        self.browser.open(self.reports.pages["both"])
        self.browser.tap(*self.centre_of_end())
        self.assertIn("epoch 3", self.tip())
        self.browser.call("Emulation.setTouchEmulationEnabled", enabled=False)

    def test_shows_hostile_names_as_text(self):
        for name, path in self.reports.pages.items():
            with self.subTest(page=name):
                self.browser.open(path)
                self.assertIsNone(self.browser.evaluate("window.hostile"))
                self.assertEqual(self.browser.evaluate("document.scripts.length"), 1)
                planted = "document.querySelectorAll('img[src=x], b').length"
                self.assertEqual(self.browser.evaluate(planted), 0)
        self.browser.open(self.reports.pages["both"])
        title = self.browser.evaluate("document.title")
        for text in (HOSTILE_RUN, HOSTILE_DATA, "64-16-10"):
            self.assertIn(text, title)
            self.assertIn(text, self.browser.evaluate("document.querySelector('header').innerText"))

    def test_fits_a_phone(self):
        self.browser.set_width(360)
        for name, path in self.reports.pages.items():
            with self.subTest(page=name):
                self.browser.open(path)
                widths = self.browser.evaluate("[document.documentElement.scrollWidth, window.innerWidth]")
                self.assertLessEqual(widths[0], 360)
                self.assertEqual(widths[1], 360)
                smallest = self.browser.evaluate("""Math.min(
                  ...[...document.querySelectorAll("svg.plot")].map(svg =>
                    14 * svg.getBoundingClientRect().width / svg.viewBox.baseVal.width))""")
                self.assertGreaterEqual(smallest, 10, "pixels of the text of plots")

    def test_has_the_text_contrast_of_wcag_aa(self):
        for theme in ("light", "dark"):
            self.browser.set_theme(theme)
            for name, path in self.reports.pages.items():
                with self.subTest(page=name):
                    self.browser.open(path)
                    self.browser.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
                    result = self.browser.evaluate(chromium.contrast())
                    self.assertGreater(result["texts"], 30)
                    self.assertEqual(result["low"], [], theme)

    def test_links_the_reports_of_the_runs(self):
        self.browser.open(self.reports.pages["comparison"])
        links = self.browser.evaluate("[...document.querySelectorAll('th a')].map(link => link.href)")
        names = [urllib.parse.unquote(link) for link in links]
        for name in ("both", "single", "long"):
            self.assertIn(f"file://{self.reports.pages[name].resolve()}", names)

    def test_screenshots(self):
        if not self.screenshots:
            self.skipTest("without --screenshots")
        for name, path in self.reports.pages.items():
            with self.subTest(page=name):
                take_screenshots(self.browser, path, self.screenshots, name)


def take_screenshots(browser, path, directory, name):
    for theme, width in (("light", 1280), ("dark", 1280), ("light", 360)):
        browser.set_width(width)
        browser.set_theme(theme)
        browser.open(path)
        browser.screenshot(directory / f"{name}-{theme}-{width}.png")
    browser.print_to(directory / f"{name}.pdf")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("program")
    parser.add_argument("--screenshots", type=pathlib.Path, help="write screenshots there")
    arguments, rest = parser.parse_known_args()
    if arguments.screenshots:
        arguments.screenshots.mkdir(parents=True, exist_ok=True)
    program = chromium.find()
    if program is None:
        print("not run: Chromium is not installed; install it with script/bootstrap --with-browser")
        sys.exit(77)
    with tempfile.TemporaryDirectory() as directory, chromium.Browser(program) as browser:
        ReportTest.reports = Reports(str(pathlib.Path(arguments.program).resolve()), pathlib.Path(directory))
        ReportTest.browser = browser
        ReportTest.screenshots = arguments.screenshots
        result = unittest.main(argv=[sys.argv[0], *rest], exit=False).result
    sys.exit(0 if result.wasSuccessful() else 1)


if __name__ == "__main__":
    main()
