"""Commands in the pages: their options, and the names of planted bugs, entries and recipes, must exist."""

import functools
import re

COMMAND = re.compile(r"(?:^|[\s`(/])(twingrad|script/[a-z-]+)\b((?:[ \t]+[^\s`#|;&]+)*)")
OPTION = re.compile(r"(?<![\w-])--[a-z][a-z0-9-]*")
SUBCOMMANDS = ("train", "compare", "check", "bench", "predict", "export", "data", "report")
# Options of other programs that the pages name.
OTHERS = {"--install", "--prefix", "--build", "--preset", "--target", "--user", "--rm", "--parallel",
          "--redirects"}


class Commands:
    def __init__(self, root, programs):
        self.root, self.programs = root, programs
        programs.start("twingrad --help")
        programs.start("twingrad check --list-bugs")

    def options_of(self, command):
        return set(OPTION.findall(self.programs.output(command + " --help")))

    def subcommands(self):
        text = self.programs.output("twingrad --help").partition("Commands:")[2]
        return [name for name in re.findall(r"^  (\w+) ", text, re.M)]

    def scripts(self):
        return sorted(p.name for p in (self.root / "script").iterdir() if p.is_file() and p.suffix != ".sh")

    def script_options(self, name):
        known = set(OPTION.findall((self.root / "script" / name).read_text(encoding="utf-8")))
        return known | self.options_of("twingrad train") if name in ("train", "launch") else known

    @functools.cached_property
    def all_options(self):
        known = set(OTHERS)
        for name in self.subcommands():
            known |= self.options_of("twingrad " + name)
        for name in self.scripts():
            known |= self.script_options(name)
        return known

    def start(self):
        for name in self.subcommands():
            self.programs.start(f"twingrad {name} --help")

    def check(self, page):
        errors = []
        for number, line in enumerate(page.lines):
            if line.startswith("<!--"):
                continue
            for match in COMMAND.finditer(line):
                errors += [(number, e) for e in self.problems(match[1], match[2].split())]
        for number, line in page.prose():
            for option in re.findall(r"`(--[a-z][a-z0-9-]*)", line):
                if option not in self.all_options:
                    errors.append((number, f"no command has the option {option}"))
        return errors + self.check_names(page)

    def problems(self, program, words):
        if program.startswith("script/"):
            name = program.partition("/")[2]
            if name not in self.scripts():
                return [f"no script {program}"]
            known, command = self.script_options(name), program
        else:
            if not words or not re.match(r"^[a-z]+$", words[0]):
                return []
            if words[0] not in self.subcommands():
                return [f"no command twingrad {words[0]}"] if any(w.startswith("--") for w in words) else []
            command = f"twingrad {words[0]}"
            known = self.options_of(command)
        named = [m for w in words if (m := OPTION.match(w.strip("[(")))]
        return [f"{command} has no option {m[0]}" for m in named if m[0] not in known | {"--help"}]

    def check_names(self, page):
        bugs = set(re.findall(r"^(\S+\.\S+) ", self.programs.output("twingrad check --list-bugs"), re.M))
        errors = []
        for number, line in enumerate(page.lines):
            for name in re.findall(r"--bug ([a-z_0-9]+(?:\.[a-z_0-9]+)+)", line):
                if name not in bugs:
                    errors.append((number, f"no planted bug {name}"))
            for name in re.findall(r"--recipe ([a-z][a-z0-9-]*)", line):
                if not (self.root / "recipes" / f"{name}.recipe").is_file():
                    errors.append((number, f"no recipe {name}"))
        return errors
