"""Compares the results of twingrad's checks with torch.autograd.gradcheck and gradgradcheck, case by case.

    gradcheck_compare.py PROGRAM

PROGRAM: built from tests/gradcheck/cases.cpp, which has the same cases. Exit status: 1 if a result differs,
77 (skipped) if Python's torch is not installed.
"""

import json
import subprocess
import sys
import warnings

try:
    import torch
except ImportError:
    print("skipped: Python's torch is not installed")
    sys.exit(77)


def line(start, end, shape):
    count = 1
    for size in shape:
        count *= size
    return torch.linspace(start, end, count, dtype=torch.float64).view(shape).requires_grad_()


def spiral(shape):
    angle = line(0.3, 2.9, shape).detach()
    return torch.complex(angle * angle.cos(), angle.sin()).requires_grad_()


def planted(value, derivative_of):
    return value.detach() + derivative_of - derivative_of.detach()


def softmax_with_constant_sum(x):
    e = x.exp()
    return planted(x.softmax(1), e / e.sum(1, True).detach())


def cases():
    x = line(-1.9, 2.1, (3, 4))
    positive = line(0.5, 2.0, (3, 4))
    w = line(-0.7, 0.8, (4, 2))
    z = spiral((2, 3))
    ones = torch.ones(1, dtype=torch.float64)
    return {
        "sin": (lambda x: x.sin(), (x,)),
        "log": (lambda x: x.log(), (positive,)),
        "matmul": (lambda x, w: x.matmul(w), (x, w)),
        "softmax": (lambda x: x.softmax(1), (x,)),
        "log_softmax": (lambda x: x.log_softmax(1), (x,)),
        "variance": (lambda x: x.var(1), (x,)),
        "two outputs": (lambda x: (x.exp(), x.sum()), (x,)),
        "transposed input": (lambda x: x.tanh(), (x.detach().t().requires_grad_(),)),
        "unused input": (lambda x, w: x.exp(), (x, w)),
        "no elements": (lambda x: x * 2, (line(0, 1, (0, 3)),)),
        "complex product": (lambda z: z * z, (z,)),
        "complex modulus": (lambda z: z.abs(), (z,)),
        "complex conjugate": (lambda z: z.conj() * z.exp(), (z,)),
        "constant": (lambda x: torch.ones(2, dtype=torch.float64), (x,)),
        "wrong: sign": (lambda x: planted(x.exp(), -x.exp()), (x,)),
        "wrong: factor": (lambda x: planted(x.pow(2), 2 * x.pow(2)), (x,)),
        "wrong: sum for mean": (lambda x: planted(x.mean(), x.sum()), (x,)),
        "wrong: by 0.2 %": (lambda x: planted(x.exp(), 1.002 * x.exp()), (x,)),
        "within tolerance: by 0.05 %": (lambda x: planted(x.exp(), 1.0005 * x.exp()), (x,)),
        "wrong: softmax with a constant sum": (softmax_with_constant_sum, (x,)),
        "wrong: one input of two": (lambda x, w: x.matmul(w.detach()), (x, w)),
        "wrong: detached": (lambda x: x.detach() * 2, (x,)),
        "wrong: second output": (lambda x: (x.exp(), planted(x.sin(), x)), (x,)),
        "wrong: complex": (lambda z: planted(z * z, z * z.conj()), (z,)),
        "wrong: a NaN": (lambda x: x.sqrt(), (x,)),
        "kink": (lambda x: x.relu(), (line(-1, 1, (3,)),)),
        "overlapping input": (lambda x: x.exp(), (ones.expand(3).detach().requires_grad_(),)),
        "no gradient required": (lambda x: x.exp(), (torch.ones(2, dtype=torch.float64),)),
    }


def result(check, function, inputs, **options):
    """Any exception is a failure: Python raises for some failures and returns False for others."""
    try:
        return "pass" if check(function, inputs, **options) else "fail"
    except Exception:  # noqa: BLE001
        return "fail"


def reject(constant):
    raise ValueError(f"{constant} is not valid JSON")


def main():
    warnings.simplefilter("ignore")
    output = subprocess.run([sys.argv[1]], check=True, capture_output=True, text=True).stdout
    twingrad = {}
    for row in output.splitlines():
        name, *words, text = row.split("\t")
        twingrad[name] = tuple(words)
        assert json.loads(text, parse_constant=reject)["passed"] == (words[0] == "pass"), text
    python = {
        name: (
            result(torch.autograd.gradcheck, function, inputs),
            result(torch.autograd.gradcheck, function, inputs, fast_mode=True),
            result(torch.autograd.gradgradcheck, function, inputs),
        )
        for name, (function, inputs) in cases().items()
    }
    if not twingrad or twingrad.keys() != python.keys():
        sys.exit(f"the lists of cases differ: {sorted(twingrad.keys() ^ python.keys())}")
    different = 0
    for name, words in python.items():
        same = words == twingrad[name]
        different += not same
        print(f"{'same  ' if same else 'DIFFER'}  {name:32} Python {' '.join(words)}   "
              f"twingrad {' '.join(twingrad[name])}")
    print(f"{len(python) - different} of {len(python)} cases have the same three results "
          f"(torch {torch.__version__})")
    sys.exit(1 if different else 0)


main()
