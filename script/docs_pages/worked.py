"""The worked example: named values of a page are compared with those of the library.

In a block after <!-- worked -->, every side of every equation is evaluated, names included, and the name at
the left must have the value that docs-worked-example computes:

    z1[0,0] = x[0,0]·W1[0,0] + x[0,1]·W1[0,1] + b1[0] = 1·0.5 + 0.5·(−0.4) + 0.1 = 0.4

If a side of names is followed by a side of numbers with the same operations, each number must be the value of
the name in its place: a changed sign is found even in a term that is 0. A matrix is compared entry by entry:

    W1 = [  0.5  −0.4 ]
         [ −0.3   0.2 ]
"""

import json
import re

from arithmetic import FUNCTIONS, NAME, SIGN, NotArithmetic, Number, differ, half_unit, parse, tokens_of

ROW = re.compile(rf"^ *(?:(?P<name>{NAME}) *= *)?\[ *(?P<entries>[-−\d][-−\d. e]*?) *\] *$")


def operands(side, values):
    """The operations of an expression without + and −, and its operands: (is negated, value, half a unit)."""
    operations, found, is_negated = [], [], False
    for kind, text, _ in tokens_of(side):
        if text in "-−":
            is_negated = not is_negated
        elif kind == "name" and text not in FUNCTIONS:
            found.append((is_negated, values[text.replace(" ", "")], 0.0))
            is_negated = False
        elif kind == "number":
            found.append((is_negated, float(text.replace(",", "").replace("−", "-")), half_unit(text)))
            is_negated = False
        elif text not in "+()":
            operations.append(text)
    return operations, found


def has_name(side):
    return any(name not in FUNCTIONS for name in re.findall(NAME, side))


def misplaced(named, numbers, values):
    """The names in an expression that the next one, with the same operations, replaces by other numbers."""
    try:
        (operations, names), (others, literals) = operands(named, values), operands(numbers, values)
    except (KeyError, NotArithmetic):
        return False
    if operations != others or len(names) != len(literals):
        return False
    for (minus, value, _), (also_minus, literal, unit) in zip(names, literals):
        value, literal = -value if minus else value, -literal if also_minus else literal
        if (value == 0 and minus != also_minus) or abs(value - literal) > unit * (1 + 1e-9):
            return True
    return False


def flatten(name, value, into):
    if isinstance(value, list):
        for index, entry in enumerate(value):
            base = name[:-1] + "," if name.endswith("]") else name + "["
            flatten(f"{base}{index}]", entry, into)
    else:
        into[name] = value
    return into


class Worked:
    def __init__(self, programs):
        self.programs = programs
        programs.start("docs-worked-example")
        self.values = None
        self.count = 0

    def load(self):
        if self.values is None:
            self.tensors = json.loads(self.programs.output("docs-worked-example"))
            self.values = {}
            for name, value in self.tensors.items():
                flatten(name, value, self.values)

    def check(self, page):
        errors = []
        for block in page.blocks:
            if block.marker and block.marker.kind == "worked":
                self.load()
                errors += self.check_block(page.content(block), block.first)
        return errors

    def check_block(self, lines, first):
        errors, matrix = [], None
        for offset, line in enumerate(lines):
            text = line.partition("  #")[0]
            number = first + offset
            row = ROW.match(text)
            if row and (row["name"] or matrix):
                if row["name"]:
                    errors += self.finish(matrix)
                    matrix = (row["name"], [], number)
                matrix[1].append(row["entries"].split())
                continue
            errors += self.finish(matrix)
            matrix = None
            if SIGN.search(text):
                errors += [(number, e) for e in self.check_equation(text)]
        return errors + self.finish(matrix)

    def check_equation(self, text):
        sides = [side.strip() for side in re.split(r"[=≈]", text)]
        if sides[0] not in self.values:
            return [f"the library computes no {sides[0]}"]
        known = Number(self.values[sides[0]])
        self.count += 1
        errors = []
        for side in sides[1:]:
            found = parse(side, self.values)
            if not found:
                errors.append(f"cannot evaluate '{side}'")
            elif differ(known, found[1]):
                errors.append(f"{sides[0]} is {known.value:.10g} in the library, but {side} is "
                              f"{found[1].value:.10g}")
        if errors:
            return errors
        pairs = [(a, b) for a, b in zip(sides[1:], sides[2:]) if has_name(a) and not has_name(b)]
        return [f"'{b}' does not have the values of '{a}'" for a, b in pairs if misplaced(a, b, self.values)]

    def finish(self, matrix):
        if not matrix:
            return []
        name, rows, number = matrix
        expected = self.tensors.get(name)
        if expected is None:
            return [(number, f"the library computes no {name}")]
        expected = expected if isinstance(expected[0], list) else [expected]
        if [len(r) for r in rows] != [len(r) for r in expected]:
            return [(number, f"{name} has another shape in the library")]
        self.count += sum(len(row) for row in rows)
        return [(number, f"{name} contains {shown}, the library computes {value:.10g}")
                for shown_row, row in zip(rows, expected) for shown, value in zip(shown_row, row)
                if abs(float(shown.replace("−", "-")) - value) > half_unit(shown.lstrip("-−")) * (1 + 1e-9)]
