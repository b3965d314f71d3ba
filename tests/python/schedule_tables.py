#!/usr/bin/python3
"""Writes or verifies cpp/twingrad/catalogue/schedule_tables.h, the learning rates of Python's schedulers.

    schedule_tables.py > cpp/twingrad/catalogue/schedule_tables.h      writes the header
    schedule_tables.py cpp/twingrad/catalogue/schedule_tables.h        compares it with the installed torch

Exit status: 0 the tables agree, 1 they differ, 77 (skipped) Python's torch is not installed.
"""
import re
import sys
import textwrap
import warnings

try:
    import torch
    from torch.optim import lr_scheduler
except ImportError:
    sys.exit(77)

BASE = 0.1
# name: (call, number of steps)
SCHEDULES = {
    "kCosine": ("CosineAnnealingLR(o, T_max=10, eta_min=0.01)", 24),
    "kWarmUp": ("LinearLR(o, start_factor=0.1, end_factor=0.8, total_iters=7)", 12),
    "kOneCycle": ("OneCycleLR(o, 0.1, total_steps=24, cycle_momentum=False)", 24),
    "kOneCycleLinear": (
        'OneCycleLR(o, 0.1, total_steps=24, pct_start=0.25, anneal_strategy="linear", div_factor=10,'
        " final_div_factor=100, cycle_momentum=False)",
        24,
    ),
    "kOneCycleThreePhase": ("OneCycleLR(o, 0.1, total_steps=24, three_phase=True, cycle_momentum=False)", 24),
}


def rates(call, steps):
    o = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=BASE)
    schedule = eval("lr_scheduler." + call, {"lr_scheduler": lr_scheduler, "o": o})
    table = []
    for step in range(steps):
        table.append(o.param_groups[0]["lr"])
        if step + 1 < steps:
            o.step()
            schedule.step()
    return table


def header():
    lines = [
        "#pragma once",
        "",
        "#include <array>",
        "",
        f"// Written by tests/python/schedule_tables.py with torch {torch.__version__.split('+')[0]}.",
        "// clang-format off",
        "",
        "/// The learning rates of Python's torch.optim.lr_scheduler, step by step from a base rate of 0.1.",
        "namespace twingrad::catalogue::python {",
    ]
    for name, (call, steps) in SCHEDULES.items():
        comment = textwrap.wrap(call, 104, initial_indent="/// ", subsequent_indent="///     ")
        lines += ["", *comment, f"constexpr std::array<double, {steps}> {name} = {{"]
        table = [f"{rate:.17g}" for rate in rates(call, steps)]
        lines += ["    " + ", ".join(table[i : i + 4]) + "," for i in range(0, steps, 4)]
        lines[-1] = lines[-1][:-1] + "};"
    return "\n".join(lines + ["", "}  // namespace twingrad::catalogue::python", ""])


def tables_in(text):
    found = re.findall(r"std::array<double, \d+> (\w+) = \{(.*?)\};", text, re.DOTALL)
    return {name: [float(number) for number in body.split(",")] for name, body in found}


def main():
    warnings.simplefilter("ignore")
    if len(sys.argv) == 1:
        print(header(), end="")
        return 0
    with open(sys.argv[1], encoding="utf-8") as file:
        recorded, now = tables_in(file.read()), tables_in(header())
    # A dozen roundings of the base rate: releases of torch may order the operations differently.
    agrees = recorded.keys() == now.keys() and all(
        len(recorded[name]) == len(now[name])
        and all(abs(a - b) <= 1e-15 for a, b in zip(recorded[name], now[name]))
        for name in now
    )
    print("the tables agree" if agrees else "the tables differ; write the header again")
    return 0 if agrees else 1


if __name__ == "__main__":
    sys.exit(main())
