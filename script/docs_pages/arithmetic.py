"""Evaluates the equations that a page shows: 0.10 · 0.50 + 0.20 · (−0.30) = −0.01.

A number with four or more decimals may have been rounded, so it carries an error of half a unit in its last
place, which is propagated through the expression. Shorter numbers are exact, except at the right of an
equality sign, where they are results.
"""

import math
import re
from dataclasses import dataclass

NUMBER = r"\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?(?:e[-−+]?\d+)?"
NAME = r"(?![²³])[^\W\d](?:(?![²³])[\w\u0302'])*(?:\[\d+(?:, ?\d+)?\])?"
TOKEN = re.compile(rf"\s*(?:(?P<number>{NUMBER})|(?P<name>{NAME})|(?P<symbol>[-−+·×*/^(),√²³]))")
FUNCTIONS = {"exp": math.exp, "log": math.log, "max": max, "min": min, "sqrt": math.sqrt, "abs": abs}
ROUNDED_FROM = 4  # decimals


@dataclass
class Number:
    """A value and the largest error that the rounding of its parts can have caused."""

    value: float
    error: float = 0.0


class NotArithmetic(Exception):
    """The text is not an expression of numbers and known names."""


def half_unit(literal):
    """Half a unit in the last place shown: 0.0005 for 1.234, 0.5 for 12."""
    mantissa, _, exponent = literal.replace(",", "").replace("−", "-").partition("e")
    decimals = len(mantissa.partition(".")[2])
    return 0.5 * 10.0 ** (int(exponent or 0) - decimals)


def read_number(literal, is_result):
    decimals = len(literal.partition("e")[0].partition(".")[2])
    value = float(literal.replace(",", "").replace("−", "-"))
    return Number(value, half_unit(literal) if is_result or decimals >= ROUNDED_FROM else 0.0)


def tokens_of(text):
    tokens, position = [], 0
    text = text.rstrip()
    while position < len(text):
        match = TOKEN.match(text, position)
        if not match:
            raise NotArithmetic(text)
        tokens.append((match.lastgroup, match[match.lastgroup], match.start(match.lastgroup)))
        position = match.end()
    return tokens


class Expression:
    """A recursive-descent parser. `values` maps names to numbers; another name is not arithmetic."""

    def __init__(self, text, values=None):
        self.text, self.values = text, values or {}
        self.tokens, self.position = tokens_of(text), 0
        self.has_operator = False

    def evaluate(self):
        self.is_literal = len([t for t in self.tokens if t[1] not in "-−"]) == 1 and self.kind(-1) == "number"
        result = self.sum()
        if self.position != len(self.tokens):
            raise NotArithmetic(self.text)
        return result

    def kind(self, index):
        return self.tokens[index][0] if self.tokens else None

    def peek(self):
        return self.tokens[self.position][1] if self.position < len(self.tokens) else None

    def take(self, *symbols):
        if self.peek() in symbols and self.tokens[self.position][0] == "symbol":
            self.position += 1
            return self.tokens[self.position - 1][1]
        return None

    def sum(self):
        left = self.product()
        while symbol := self.take("+", "-", "−"):
            self.has_operator = True
            right = self.product()
            value = left.value + right.value if symbol == "+" else left.value - right.value
            left = Number(value, left.error + right.error)
        return left

    def product(self):
        left = self.signed()
        while symbol := self.take("·", "×", "*", "/"):
            self.has_operator = True
            right = self.signed()
            if symbol == "/":
                if right.value == 0:
                    raise NotArithmetic(self.text)
                value = left.value / right.value
                left = Number(value, (left.error + abs(value) * right.error) / abs(right.value))
            else:
                left = Number(left.value * right.value,
                              abs(left.value) * right.error + abs(right.value) * left.error)
        return left

    def signed(self):
        if self.peek() in ("-", "−"):
            start, text = self.tokens[self.position][2], self.text
            if text[start + 1:start + 2].isspace():
                raise NotArithmetic(text)  # "a − 1" without its a
            self.position += 1
            inner = self.signed()
            return Number(-inner.value, inner.error)
        return self.power()

    def power(self):
        base = self.atom()
        while symbol := self.take("²", "³", "^"):
            self.has_operator = True
            exponent = {"²": 2, "³": 3}.get(symbol) or self.signed().value
            value = base.value ** exponent
            base = Number(value, abs(exponent * base.value ** (exponent - 1)) * base.error)
        return base

    def atom(self):
        if self.position >= len(self.tokens):
            raise NotArithmetic(self.text)
        kind, text, _ = self.tokens[self.position]
        self.position += 1
        if kind == "number":
            return read_number(text, self.is_literal)
        if kind == "name":
            return self.call(text) if text in FUNCTIONS else self.named(text)
        self.has_operator = True
        if text == "√":
            inner = self.atom()
            return Number(math.sqrt(inner.value), inner.error / (2 * math.sqrt(inner.value or 1)))
        if text == "(":
            inner = self.sum()
            if not self.take(")"):
                raise NotArithmetic(self.text)
            return inner
        raise NotArithmetic(self.text)

    def named(self, name):
        if name.replace(" ", "") not in self.values:
            raise NotArithmetic(f"{name} in {self.text}")
        return Number(self.values[name.replace(" ", "")])

    def call(self, name):
        self.has_operator = True
        if not self.take("("):
            raise NotArithmetic(self.text)
        arguments = [self.sum()]
        while self.take(","):
            arguments.append(self.sum())
        if not self.take(")"):
            raise NotArithmetic(self.text)
        function, values = FUNCTIONS[name], [a.value for a in arguments]
        try:
            return Number(function(*values), sum(self.sensitivity(name, a) for a in arguments))
        except (ValueError, TypeError, OverflowError) as error:
            raise NotArithmetic(self.text) from error

    @staticmethod
    def sensitivity(name, argument):
        slope = {"exp": math.exp(min(argument.value, 700)), "log": 1 / (abs(argument.value) or 1),
                 "sqrt": 0.5 / math.sqrt(abs(argument.value) or 1)}.get(name, 1)
        return slope * argument.error


def parse(text, values=None):
    """The expression and its value, or None if the text is not arithmetic."""
    try:
        expression = Expression(text, values)
        return expression, expression.evaluate()
    except NotArithmetic:
        return None


def differ(left, right):
    """Whether two numbers differ by more than their digits explain."""
    rounding = 1e-12 * max(abs(left.value), abs(right.value), 1e-300)
    return abs(left.value - right.value) > (left.error + right.error) * (1 + 1e-9) + rounding


# ---- Equations in running text -----------------------------------------------------------------------------

SIGN = re.compile(r"[=≈]")
# What may stand next to a complete expression: a word, a bracket, a quote, punctuation; no operator.
OPERATORS = set("+-−·×*/^√²³<>≤≥∝%")


def longest(text, from_left):
    """The longest prefix (or suffix) of the text that is arithmetic and complete."""
    cuts = [m.end() if from_left else m.start() for m in re.finditer(r"\S", text)]
    for cut in reversed(cuts) if from_left else cuts:
        part, rest = (text[:cut], text[cut:]) if from_left else (text[cut:], text[:cut])
        touching = rest[:1] if from_left else rest[-1:]
        nearest = rest.strip()[:1] if from_left else rest.strip()[-1:]
        if touching and (touching.isalnum() or touching in "_[]({}.'\\°∞") and not touching.isspace():
            if not (from_left and touching == "." and not rest[1:2].isdigit()):
                continue
        if nearest in OPERATORS and nearest:
            continue
        if found := parse(part):
            return found
    return None


def equations(line):
    """Yields the two sides of each equation of numbers in this line."""
    text = re.sub(r"\\(?:cdot|times)\b ?", "·", line).replace("\\,", "").replace("&minus;", "−")
    signs = [m.start() for m in SIGN.finditer(text) if text[m.start() - 1:m.start()] not in tuple("<>!=:+-*/")
             and text[m.start() + 1:m.start() + 2] != "="]
    for index, sign in enumerate(signs):
        start = signs[index - 1] + 1 if index else 0
        end = signs[index + 1] if index + 1 < len(signs) else len(text)
        left, right = longest(text[start:sign], False), longest(text[sign + 1:end], True)
        if left and right and (left[0].has_operator or right[0].has_operator):
            yield left, right


def wrong_equations(line):
    """Descriptions of the equations in this line whose sides differ."""
    return [f"{left.text.strip()} is {value.value:.10g}, not {right.text.strip()}"
            for (left, value), (right, other) in equations(line) if differ(value, other)]


def count_equations(line):
    """The number of equations that wrong_equations checks."""
    return sum(1 for _ in equations(line))
