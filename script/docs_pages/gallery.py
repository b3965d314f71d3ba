"""The bug gallery of docs/bugs.md: what each planted bug of the catalogue computes, from its source, the
references that reject it, and the commands that show it."""

import json
import re
import textwrap

from programs import CommandFailed

CATALOGUE = "cpp/twingrad/catalogue"

# Groups in the order of the page: heading, source, and the entries by the first part of their names.
GROUPS = [
    ("Products and sums", "layers", ["linear", "matmul", "bias", "append_ones"]),
    ("Activations", "activations", ["relu", "leaky_relu", "elu", "selu", "gelu", "gelu_tanh", "silu",
                                    "softplus", "sigmoid", "tanh", "hardtanh", "softsign"]),
    ("Softmax and logarithm", "layers", ["softmax", "unshifted_softmax", "log_softmax", "log"]),
    ("Dropout and residual blocks", "layers", ["dropout", "residual"]),
    ("Normalizations", "normalizations", ["batch_norm", "layer_norm", "rms_norm"]),
    ("Cross-entropy and likelihoods", "losses", ["cross_entropy", "negative_log_likelihood", "nll"]),
    ("Other losses", "losses", ["mse", "l1", "smooth_l1", "huber", "bce_with_logits", "kl_divergence"]),
    ("SGD", "optimizers", ["sgd"]),
    ("Adam and AdamW", "optimizers", ["adam", "adamw"]),
    ("RMSprop and Adagrad", "optimizers", ["rmsprop", "adagrad"]),
    ("Schedules and clipping", "schedules", ["schedule", "clip_by_norm"]),
    ("Running statistics", "running_statistics",
     ["batch_norm.running_statistics", "batch_norm.cumulative_average"]),
    ("Defaults", "defaults", ["defaults"]),
    ("Validation", "validation", ["validation"]),
    ("Shards", "shards", ["shards"]),
]

# The header of a part, where its name is not <entry>.h.
HEADERS = {"dropout": "layers/dropout", "schedule": "optim/schedule", "clip_by_norm": "optim/clip_by_norm",
           "adamw": "optim/adam", "unshifted_softmax": "layers/softmax", "mse": "losses/mse_loss",
           "l1": "losses/l1_loss", "smooth_l1": "losses/smooth_l1_loss", "huber": "losses/huber_loss",
           "bce_with_logits": "losses/bce_with_logits_loss", "kl_divergence": "losses/kl_div_loss",
           "nll": "losses/nll_loss", "cross_entropy": "losses/cross_entropy_loss",
           "negative_log_likelihood": "losses/log_likelihood_loss", "shards": "mlp/manual_shard"}

REFERENCES = {"autograd": "autograd", "finite-difference": "central differences", "float32": "float32",
              "torch::optim": "`torch::optim`", "torch::nn::utils": "`torch::nn::utils`",
              "LibTorch": "LibTorch", "Python": "Python's tables"}


# ---- The wrong line, from the source -----------------------------------------------------------------------

def scan(text, start, end):
    """Yields (position, character, depth) of the code in text[start:end], strings skipped."""
    depth, position = 0, start
    while position < end:
        character = text[position]
        if character == '"':
            position += 1
            while text[position] != '"':
                position += 2 if text[position] == "\\" else 1
        elif character in "({[":
            depth += 1
            yield position, character, depth
        elif character in ")}]":
            yield position, character, depth
            depth -= 1
        else:
            yield position, character, depth
        position += 1


def enclosing(text, position):
    """The innermost pair of brackets around a position: (first, last) of its content."""
    stack = []
    for at, character, _ in scan(text, 0, position):
        if character in "({[":
            stack.append(at)
        elif character in ")}]" and stack:
            stack.pop()
    opened = stack[-1]
    for at, character, depth in scan(text, opened, len(text)):
        if character in ")}]" and depth == 1:
            return opened + 1, at
    raise CommandFailed("unbalanced brackets in the catalogue")


def split_arguments(text, first, last):
    parts, start = [], first
    for at, character, depth in scan(text, first, last):
        if character == "," and depth == 0:
            parts.append(text[start:at])
            start = at + 1
    return parts + [text[start:last]]


class Sources:
    """The files of the catalogue."""

    def __init__(self, root):
        self.root, self.texts = root, {}

    def text(self, name):
        if name not in self.texts:
            path = self.root / CATALOGUE / f"{name}.cpp"
            source = path.read_text(encoding="utf-8")
            self.texts[name] = re.sub(r"//.*", lambda m: " " * len(m[0]), source)  # no brackets in comments
        return self.texts[name]

    def wrong_code(self, name, bug):
        """What the source computes for a bug: (position, code)."""
        text = self.text(name)
        mistake = bug["name"][len(bug["entry"]) + 1:]
        for literal in (f'"{bug["name"]}"', f'".{mistake}"', f'"{mistake}"'):
            for match in re.finditer(re.escape(literal), text):
                first, last = enclosing(text, match.start())
                while text[first - 1] == "(" and text[first - 2] in " +":  # name + (training ? ".a" : ".b")
                    first, last = enclosing(text, first - 1)
                if self.explains(text[first:last], bug["why"]):
                    return match.start(), self.clean(text, first, last)
        raise CommandFailed(f"no source of the planted bug {bug['name']} in {CATALOGUE}/{name}.cpp")

    @staticmethod
    def explains(text, why):
        literals = re.sub(r'"\s*\n?\s*"', "", text)
        return f'"{why}"' in literals

    @staticmethod
    def clean(text, first, last):
        """What is computed: the last argument that is code; of a lambda, its body."""
        arguments = split_arguments(text, first, last)
        if text[:first].endswith("wrong_options("):
            return f"make_optimizer({arguments[-1].strip()})"
        code = [a for a in arguments if a.strip() not in ("{}", "")][-1]
        if code.strip().startswith('"'):  # set later: the next argument of the call
            outer_first, outer_last = enclosing(text, first - 1)
            code = split_arguments(text, last + 2, outer_last)[0]
        column = text.index(code) + len(code) - len(code.lstrip())
        column -= text.rfind("\n", 0, column) + 1
        code = code.strip()
        body = re.match(r"^\[[^\]]*\]\([^()]*(?:\([^()]*\)[^()]*)*\)\s*\{(.*)\}$", code, re.S)
        if body:
            lines = body[1].strip("\n").rstrip()
            return textwrap.dedent(lines) if "\n" in body[1] else lines.strip()
        head, *rest = code.split("\n")
        indent = min([column] + [len(line) - len(line.lstrip()) for line in rest if line.strip()])
        return "\n".join([head] + [line[indent:].rstrip() for line in rest])


# ---- The page ----------------------------------------------------------------------------------------------

def cause_of(detail):
    """The cause in the first bad row of the gradient checker's table, without the numbers of the case."""
    match = re.search(r"^  BAD .*\de[-+]\d\d +\S+  +(\S.*)$", detail, re.M)
    cause, _, details = match[1].strip().partition(": ") if match else ("", "", "")
    _, separator, explanation = details.partition("; ")
    return "" if cause == "no known pattern" else cause + separator + explanation


def sentence(text):
    """The text with a capital letter, unless it begins with a symbol or a name of the code."""
    return text[0].upper() + text[1:] if re.match(r"^(?:[a-z]{2,}|a)(?= |, |')", text) else text


def wrapped(text):
    return textwrap.wrap(text, 110, break_long_words=False, break_on_hyphens=False)


def formulas_of(path):
    """The formulas in the comment above the class: its indented lines."""
    lines = [m[1].rstrip() for m in re.finditer(r"^///   (.*)$", path.read_text(encoding="utf-8"), re.M)]
    return textwrap.dedent("\n".join(lines)).split("\n") if lines else []


def listed(items):
    items = list(dict.fromkeys(items))
    return items[0] if len(items) == 1 else ", ".join(items[:-1]) + " and " + items[-1]


class Gallery:
    def __init__(self, root, programs):
        self.root, self.programs, self.sources = root, programs, Sources(root)
        programs.start("docs-planted-bugs")

    def lines(self):
        bugs = json.loads(self.programs.output("docs-planted-bugs"))
        contents, body, seen = [], [], 0
        for heading, source, _ in GROUPS:
            chosen = [b for b in bugs if self.group_of(b) == heading]
            seen += len(chosen)
            contents.append(f"- [{heading}](#{self.anchor(heading)}): {len(chosen)}")
            link = f"[{source}.cpp](../{CATALOGUE}/{source}.cpp)"
            body += ["", f"## {heading}", "", f"Source of the bugs: {link}."]
            header = ""
            for members in self.same_source(source, chosen).values():
                if header != (header := self.header_of(members[0]["entry"])):
                    body += self.right(header)
                body += self.item(members)
        if seen != len(bugs):
            raise CommandFailed(f"{len(bugs) - seen} planted bugs belong to no group of gallery.py")
        rejected = sum(bool(b["rejected by"]) for b in bugs)
        return [f"{len(bugs)} planted bugs, {rejected} rejected:", "", *contents, *body, ""]

    @staticmethod
    def group_of(bug):
        best = max(((len(e), heading) for heading, _, entries in GROUPS for e in entries
                    if bug["entry"] == e or bug["entry"].startswith(e + ".")), default=(0, ""))
        return best[1]

    @staticmethod
    def anchor(heading):
        return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")

    def header_of(self, entry):
        """The header of an entry, from the first part of its name."""
        known = max((n for n in HEADERS if entry == n or entry.startswith(n + ".")), key=len, default="")
        base = entry.partition(".")[0]
        for path in [HEADERS.get(known), f"layers/{base}", f"optim/{base}"]:
            if path and (self.root / "cpp/twingrad" / f"{path}.h").is_file():
                return f"cpp/twingrad/{path}.h"
        return ""

    def right(self, header):
        """The formulas of a header, with a link."""
        formulas = formulas_of(self.root / header) if header else []
        if not formulas:
            return []
        link = f"[{header.rpartition('/')[2]}](../{header})"
        return ["", f"The right formulas, from {link}:", "", "```", *formulas, "```"]

    def same_source(self, source, bugs):
        """The bugs by their place in the source: one wrong line may be planted in several entries."""
        places = {}
        for bug in bugs:
            position, bug["code"] = self.sources.wrong_code(source, bug)
            places.setdefault((position, bug["why"]), []).append(bug)
        return places

    def item(self, members):
        first = members[0]
        mistake = first["name"][len(first["entry"]) + 1:]
        why = sentence(first["why"])
        if len(members) == 1:
            title, also = f"`{first['name']}`", ""
        else:
            title = f"`{mistake}`"
            also = " Entries: " + ", ".join(f"`{m['entry']}`" for m in members) + "."
        lines = ["", f"### {title}", "", *wrapped(f"{why}.{also}")]
        lines += ["", "```cpp", *first["code"].split("\n"), "```", "", *wrapped(self.verdict(members))]
        return lines + ["", "```", *self.commands(first), "```"]

    @staticmethod
    def verdict(members):
        rejected = [REFERENCES[r] for m in members for r in m["rejected by"]]
        not_seen = [REFERENCES[r] for m in members for r in m["not seen by"]]
        not_seen = [r for r in dict.fromkeys(not_seen) if r not in rejected]
        causes = list(dict.fromkeys(c for m in members if (c := cause_of(m["detail"]))))
        text = f"Rejected by {listed(rejected)}" if rejected else "Not rejected"
        text += f"; not visible to {listed(not_seen)}" if not_seen else ""
        cause = f" Suggested cause: {causes[0]}" if causes else ""
        return text + "." + cause + ("." if cause and not cause.endswith("?") else "")

    @staticmethod
    def commands(bug):
        commands = [f"twingrad check --bug {bug['name']}"]
        if "compare" in bug:
            options = f" {bug['compare']}" if bug["compare"] else ""
            commands.append(f"twingrad compare{options} --bug {bug['name']}")
        return commands
