"""Compares the time of twingrad's gradcheck and torch.autograd.gradcheck for the same function, in turn.

    gradcheck_benchmark.py PROGRAM [REPEATS]

PROGRAM: built from tests/gradcheck/benchmark.cpp. Prints the medians and their ratio in full and fast mode.
"""

import statistics
import subprocess
import sys
import time

import torch


def classifier(x, w1, b1, w2, b2):
    return torch.log_softmax(torch.relu(x.matmul(w1) + b1).matmul(w2) + b2, 1)


def parameter(shape, size):
    return (torch.randn(shape, dtype=torch.float64) * size).requires_grad_()


def seconds_of_python(inputs, fast):
    start = time.perf_counter()
    assert torch.autograd.gradcheck(classifier, inputs, fast_mode=fast)
    return time.perf_counter() - start


def seconds_of_forwards(inputs, count):
    start = time.perf_counter()
    with torch.no_grad():
        for _ in range(count):
            classifier(*inputs)
    return time.perf_counter() - start


def main():
    program = sys.argv[1]
    repeats = int(sys.argv[2]) if len(sys.argv) > 2 else 9
    torch.manual_seed(1)
    inputs = (parameter((16, 64), 1), parameter((64, 48), 0.1), parameter((48,), 0.1),
              parameter((48, 10), 0.1), parameter((10,), 0.1))
    twingrad = subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def seconds_of_both(mode):
        twingrad.stdin.write(mode + "\n")
        twingrad.stdin.flush()
        return float(twingrad.stdout.readline()), seconds_of_python(inputs, mode == "fast")

    print(f"Python's torch {torch.__version__}, {torch.get_num_threads()} threads, "
          f"medians of {repeats} repeats")
    for mode in ("full", "fast"):
        seconds_of_both(mode)  # warm up
        pairs = [seconds_of_both(mode) for _ in range(repeats)]
        cpp, python = (statistics.median(times) for times in zip(*pairs))
        print(f"{mode}: twingrad {1e3 * cpp:8.2f} ms   Python {1e3 * python:8.2f} ms   "
              f"ratio {python / cpp:.2f}")
    plain = statistics.median(seconds_of_forwards(inputs, 9268) for _ in range(3))
    print(f"9,268 forward passes in Python, without gradients: {1e3 * plain:.2f} ms")
    twingrad.stdin.close()
    twingrad.wait()


main()
