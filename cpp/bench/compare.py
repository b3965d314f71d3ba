"""Benchmarks twingrad's twins against other programs ("peers"); script/bench runs this.

    compare.py --programs DIRECTORY [--repeats N] [--dataset NAME|DIR] [--out FILE]

A trial run finds the fastest thread setting of each peer. Then all programs run in turn, --repeats times, so
that other load on the machine affects all of them.
"""

import argparse
import dataclasses
import datetime
import itertools
import json
import math
import os
import pathlib
import statistics
import subprocess
import sys
import time

from peer import SKIPPED, positive

HERE = pathlib.Path(__file__).resolve().parent
TRIAL_EPOCHS = 3


def fail(message, status=1):
    print(f"bench: error: {message}", file=sys.stderr)
    sys.exit(status)


def say(message):
    print(f"bench: {message}", file=sys.stderr, flush=True)


@dataclasses.dataclass(frozen=True)
class Case:
    """A training task to time. The first epoch of each run is a warm-up and does not count."""

    hidden: str
    batch_size: str
    epochs: int

    @property
    def name(self):
        batch = "full batch" if self.batch_size == "full" else f"batch {self.batch_size}"
        return f"784-{self.hidden}-10, {batch}"

    @property
    def options(self):
        return ["--hidden", self.hidden, "--batch-size", self.batch_size]


CASES = [Case("98", "128", 4), Case("98", "full", 6), Case("500", "500", 4)]


@dataclasses.dataclass(frozen=True)
class Peer:
    command: tuple
    options: tuple  # tried with 1 thread and with one per core

    def settings(self):
        counts = sorted({1, len(os.sched_getaffinity(0))})
        for threads in itertools.product(counts, repeat=len(self.options)):
            yield [word for option, count in zip(self.options, threads) for word in (option, str(count))]

    def run(self, case, dataset, setting, epochs, timeout=None):
        """The result that the peer prints; None if its package is missing or the timeout expires."""
        command = [*self.command, "--dataset", dataset, *case.options, "--epochs", str(epochs), *setting]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)
        except subprocess.TimeoutExpired:
            return None
        if done.returncode == SKIPPED:
            return None
        if done.returncode != 0:
            fail(f"{pathlib.Path(self.command[-1]).name}: expected exit status 0, found {done.returncode}; "
                 f"its output: {done.stderr.strip()}")
        return json.loads(done.stdout)

    def best_setting(self, case, dataset):
        """The thread setting with the fastest epoch in a short run; None if the peer cannot run."""
        fastest, best, limit = math.inf, None, None
        for setting in self.settings():
            start = time.perf_counter()
            result = self.run(case, dataset, setting, TRIAL_EPOCHS, limit)
            if result is None:
                continue
            seconds = min(result["seconds_per_epoch"][1:])
            if seconds < fastest:
                fastest, best = seconds, setting
                limit = 3 * (time.perf_counter() - start)  # slower settings cannot be the best
        return best


def python_with(package):
    """A Python interpreter with the package, or None."""
    for python in dict.fromkeys(["python3", "/usr/bin/python3"]):
        probe = [python, "-c", f"import {package}"]
        if subprocess.run(probe, capture_output=True, check=False).returncode == 0:
            return python
    return None


def find_peers(programs):
    peers = [Peer((str(programs / "plain-torch"),), ("--aten-threads", "--blas-threads"))]
    for script, package, options in (("python_torch.py", "torch", ("--aten-threads", "--blas-threads")),
                                     ("numpy_by_hand.py", "numpy", ("--blas-threads",)),
                                     ("scikit_learn.py", "sklearn", ("--blas-threads",))):
        python = python_with(package)
        if python is None:
            say(f"{script} is skipped: no Python with {package} found")
        else:
            peers.append(Peer((python, str(HERE / script)), options))
    return peers


def run_twingrad(programs, case, repeats):
    """The JSON output of one run of `twingrad bench`."""
    command = [str(programs / "twingrad"), "bench", *case.options, "--repeats", str(repeats), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        fail(f"twingrad bench: expected exit status 0, found {done.returncode}; "
             f"its output: {done.stderr.strip()}")
    return json.loads(done.stdout)


class Measurements:
    """The seconds of each row, one value per round. Rows keep the order in which they were added."""

    def __init__(self):
        self.seconds = {}
        self.ratios = {}
        self.core_to_core = []
        self.remarks = {}
        self.accuracy = {}

    def add(self, name, seconds, ratio, remark="", accuracy=None):
        """ratio: seconds relative to those of the manual twin in the same round."""
        self.seconds.setdefault(name, []).append(seconds)
        self.ratios.setdefault(name, []).append(ratio)
        self.remarks[name] = remark
        self.accuracy.setdefault(name, []).append(accuracy)

    def heading(self, case):
        """The heading of the table, with the core-to-core latency, which affects the times."""
        if not self.core_to_core:
            return case.name
        return (f"{case.name} (core-to-core latency {statistics.median(self.core_to_core):.0f} ns, "
                f"{min(self.core_to_core):.0f}–{max(self.core_to_core):.0f} across rounds)")

    def table(self):
        """Rows of text. The ratio is the median over the rounds of the ratio to the manual twin."""
        yield ["program", "threads", "seconds per epoch", "min", "max", "/ manual twin", "test accuracy"]
        for name, seconds in self.seconds.items():
            accuracy = [value for value in self.accuracy[name] if value is not None]
            yield [name, self.remarks[name], f"{statistics.median(seconds):.3f}", f"{min(seconds):.3f}",
                   f"{max(seconds):.3f}", f"{statistics.median(self.ratios[name]):.2f}",
                   f"{100 * statistics.median(accuracy):.1f} %" if accuracy else ""]


def describe(result):
    return f"{result['name']} {result['version']}"


def describe_threads(result):
    names = {"aten": "LibTorch", "blas": "BLAS"}
    return ", ".join(f"{names[pool]} {count}" for pool, count in result["threads"].items())


def measure(case, peers, programs, dataset, repeats):
    settings = {}
    for peer in peers:
        setting = peer.best_setting(case, dataset)
        if setting is not None:
            settings[peer] = setting
        say(f"{case.name}: {pathlib.Path(peer.command[-1]).name} {' '.join(setting or ['could not run'])}")
    measurements = Measurements()
    for turn in range(repeats):
        answer = run_twingrad(programs, case, case.epochs - 1)
        result = answer["cases"][0]
        measurements.core_to_core += [1e9 * row["seconds"]["median"] for row in result["core_to_core"]]
        for row in result["rows"]:
            measurements.add(row["what"], row["seconds"]["median"], row["ratio_to_manual"])
        manual = measurements.seconds["manual twin"][-1]
        for peer, setting in settings.items():
            result = peer.run(case, dataset, setting, case.epochs)
            seconds = statistics.median(result["seconds_per_epoch"][1:])
            measurements.add(describe(result), seconds, seconds / manual, describe_threads(result),
                             result["test_accuracy"])
        say(f"{case.name}: round {turn + 1} of {repeats}")
    return measurements, answer


def aligned(rows):
    widths = [max(map(len, column)) for column in zip(*rows)]
    for row in rows:
        cells = [cell.ljust(width) if index < 2 else cell.rjust(width)
                 for index, (cell, width) in enumerate(zip(row, widths))]
        yield "  ".join(cells).rstrip()


def markdown(rows):
    yield f"| {' | '.join(rows[0])} |"
    yield f"| --- | --- |{' ---: |' * (len(rows[0]) - 2)}"
    for row in rows[1:]:
        yield f"| {' | '.join(row)} |"


def processor():
    with open("/proc/cpuinfo", encoding="utf-8") as lines:
        for line in lines:
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return "an unknown processor"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--programs", type=pathlib.Path, required=True)
    parser.add_argument("--repeats", type=positive, default=5)
    parser.add_argument("--dataset", default="fashion-mnist")
    parser.add_argument("--out", type=pathlib.Path)
    options = parser.parse_args()
    if options.out and not options.out.resolve().parent.is_dir():
        fail(f"--out: expected a file in an existing directory, found {options.out}; create the directory", 2)

    load_before = os.getloadavg()[0]
    peers = find_peers(options.programs)
    texts, documents = [], []
    for case in CASES:
        measurements, answer = measure(case, peers, options.programs, options.dataset, options.repeats)
        rows = list(measurements.table())
        texts.append("\n".join([measurements.heading(case), *aligned(rows)]))
        documents.append("\n".join([f"**{measurements.heading(case)}**", "", *markdown(rows)]))
    about = (f"{datetime.date.today()}, {processor()}, {len(os.sched_getaffinity(0))} cores, "
             f"LibTorch {answer['libtorch']}, {answer['blas']}; {options.dataset}, float32, Adam; "
             f"medians of {options.repeats} rounds, each peer with its fastest thread setting; "
             f"load average before {load_before:.1f}, after {os.getloadavg()[0]:.1f}.")
    print("\n\n".join([about, *texts]))
    if options.out:
        options.out.write_text("\n\n".join([about, *documents]) + "\n", encoding="utf-8")


main()
