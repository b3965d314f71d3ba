"""How many wrong gradients six checkers reject, and how many right ones.

    checkers.py LIBRARY [--test]

LIBRARY: built from tests/gradcheck/checkers.cpp. Each function is given to each checker at each of its
inputs, right and with each of its mistakes. Prints how many are rejected, and what the gradient checkers
miss. With --test, only twingrad's gradcheck is tried, and the exit status is 1 if it rejects a right function
or misses anything but MISSED.
Exit status 77: Python's torch is missing.
"""

import itertools
import sys

try:
    import torch
except ImportError:
    print("Python's torch is not installed")
    sys.exit(77)


def gradients(function, inputs, upstream):
    """What autograd gives for each input that requires a gradient; zeros for none."""
    leaves = [x for x in inputs if x.requires_grad]
    outputs = [(y, upstream(y, i)) for i, y in enumerate(function(inputs)) if y.requires_grad]
    found = torch.autograd.grad([y for y, _ in outputs], leaves, [g for _, g in outputs], allow_unused=True)
    return [torch.zeros_like(x) if g is None else g for x, g in zip(leaves, found)]


def differences(function, inputs, upstream, step):
    """Central differences of the sum of all outputs times `upstream`, for each entry of each input."""
    numerical = []
    with torch.no_grad():
        for x in (x for x in inputs if x.requires_grad):
            slopes = torch.zeros_like(x)
            for position in itertools.product(*map(range, x.shape)):
                old = x[position].item()
                ends = []
                for moved in (old + step, old - step):
                    x[position] = moved
                    y = sum((y * upstream(y, i)).sum().item() for i, y in enumerate(function(inputs)))
                    ends.append((y, x[position].item()))
                x[position] = old
                slopes[position] = (ends[0][0] - ends[1][0]) / (ends[0][1] - ends[1][1])
            numerical.append(slopes)
    return numerical


def agree(function, inputs, upstream, step, rtol, atol):
    return all(torch.allclose(a, n, rtol, atol) for a, n in zip(
        gradients(function, inputs, upstream), differences(function, inputs, upstream, step)))


class Case:
    """A function with or without a mistake, and its inputs."""

    def __init__(self, subject, mistake, index):
        self.arguments = subject, mistake, index
        self.inputs = [x.detach().clone().requires_grad_(x.requires_grad)
                       for x in operations.inputs(subject, index)]

    def function(self, inputs):
        return operations.call(*self.arguments[:2], list(inputs))


def by_sum(case):
    return agree(case.function, case.inputs, lambda y, _: torch.ones_like(y), 1e-6, 1e-3, 1e-5)


def in_float32(case):
    torch.manual_seed(1)
    weights = {}

    def upstream(y, position):
        return weights.setdefault(position, torch.randn(y.shape, dtype=y.dtype))

    inputs = [x.detach().float().requires_grad_(x.requires_grad) if x.is_floating_point() else x
              for x in case.inputs]
    return agree(case.function, inputs, upstream, 1e-3, 1e-2, 1e-3)


def torch_gradcheck(fast):
    return lambda case: torch.autograd.gradcheck(lambda *inputs: tuple(case.function(inputs)), case.inputs,
                                                 fast_mode=fast)


def twingrad_gradcheck(fast):
    return lambda case: operations.gradcheck(*case.arguments, fast)


CHECKERS = {
    "gradient of y.sum(), differences in float64": by_sum,
    "random upstream, differences in float32": in_float32,
    "torch.autograd.gradcheck, fast": torch_gradcheck(True),
    "torch.autograd.gradcheck": torch_gradcheck(False),
    "twingrad, fast": twingrad_gradcheck(True),
    "twingrad": twingrad_gradcheck(False),
}

# Mistakes by source, and functions, as in docs/gradcheck.md.
COUNTS = {"catalogue": 195, "custom functions": 33}, 91
# An ε of 1e-12 in a logarithm changes the slope by less than the tolerance. At a kink, where relu's slope is
# by convention 0, differences mean nothing; there the catalogue compares with autograd. Fast mode compares
# one number for all entries, so a small error in few of them is below its tolerance.
MISSED = {
    "twingrad": ["log.epsilon_forgotten", "relu.slope_one_at_zero"],
    "twingrad, fast": ["log.epsilon_forgotten", "relu.slope_one_at_zero", "gelu_tanh.exact_derivative"],
}


def accepts(checker, subject, mistake, cases):
    """Whether the checker finds nothing at any of the inputs. An exception counts as something found."""
    for index in range(cases):
        try:
            if not checker(Case(subject, mistake, index)):
                return False
        except RuntimeError:
            return False
    return True


def label_of(function, mistake):
    return mistake if mistake.startswith(function) else f"{function}: {mistake}"


def print_table(title, columns, rows):
    print(f"{title:46}" + "".join(f"{column:>24}" for column in columns))
    for name, cells in rows:
        print(f"{name:46}" + "".join(f"{cell:>24}" for cell in cells))


def main():
    test = "--test" in sys.argv
    checkers = {name: CHECKERS[name] for name in (MISSED if test else CHECKERS)}
    wrong, right = {}, []  # labels of the mistakes by source; of the right functions
    accepted = {name: [] for name in checkers}
    for subject, (source, function, cases, *mistakes) in enumerate(operations.list()):
        labels = [function, *(label_of(function, mistake) for mistake in mistakes)]
        right.append(function)
        wrong.setdefault(source, []).extend(labels[1:])
        for mistake, label in enumerate(labels):
            for name, checker in checkers.items():
                if accepts(checker, subject, mistake, int(cases)):
                    accepted[name].append(label)

    print(f"Python's torch {torch.__version__}, {len(right)} functions\n")
    print_table("rejected of", [*(f"{source} ({len(labels)})" for source, labels in wrong.items()),
                                f"right ones ({len(right)})"],
                [(name, [sum(label not in labels for label in group) for group in (*wrong.values(), right)])
                 for name, labels in accepted.items()])
    missed = {name: [label for group in wrong.values() for label in group if label in labels]
              for name, labels in accepted.items()}
    for name in (name for name in checkers if "differences" not in name):
        print(f"\n{name} accepts", *missed[name], sep="\n    ")
    if test:
        counts = {source: len(labels) for source, labels in wrong.items()}
        assert (counts, len(right)) == COUNTS, f"docs/gradcheck.md shows {COUNTS}"
        for name, expected in MISSED.items():
            assert missed[name] == expected, f"{name}: expected to miss {expected}"
            assert all(label in accepted[name] for label in right), f"{name}: a right function is rejected"


torch.ops.load_library(sys.argv[1])
operations = torch.ops.twingrad_checkers
main()
