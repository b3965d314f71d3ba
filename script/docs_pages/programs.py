"""Runs the built programs, each command once."""

import os
import re
import shlex
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor


class Programs:
    """The programs of a build directory, found by name."""

    def __init__(self, build, workers):
        self.build = build
        self.pool = ThreadPoolExecutor(max_workers=workers)
        self.started = {}
        self.directory = tempfile.TemporaryDirectory(prefix="twingrad-docs-")
        self.environment = dict(os.environ, PATH=f"{build}/bin:{build}/docs:" + os.environ.get("PATH", ""),
                                LC_ALL="C.UTF-8", COLUMNS="100")

    def start(self, command):
        """Begins to run the command; output() waits for it."""
        if command not in self.started:
            self.started[command] = self.pool.submit(self.run, command)

    def output(self, command):
        self.start(command)
        return self.started[command].result()

    def run(self, command):
        words = shlex.split(command)
        try:
            done = subprocess.run(words, env=self.environment, cwd=self.directory.name, text=True,
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=300, check=False)
        except OSError as error:
            raise SystemExit(f"docs: error: {words[0]}: expected a built program in {self.build}, found none "
                             f"({error.strerror}); build it with script/docs") from error
        if done.returncode not in (0, 1):
            raise CommandFailed(f"{command}: exit status {done.returncode}: {done.stdout.strip()[-300:]}")
        return done.stdout.rstrip("\n")

    def file(self, name):
        return os.path.join(self.directory.name, name)


class CommandFailed(Exception):
    """The command ended with an error: wrong usage, for example an option that does not exist."""


def words_of(text, variable=None):
    """The text with each number, and each match of `variable`, replaced: what does not depend on the machine.
    Runs of blanks and of the stars of a bar count once."""
    text = re.sub(r"\*+", "*", re.sub(variable, "#", text, flags=re.M) if variable else text)
    text = re.sub(r"[-+−]?\d[\d,]*(?:\.\d+)?(?:e[-+]?\d+)?", "#", text)
    return re.sub(r"[ \t]+", " ", text)


def select_lines(text, pattern):
    """The lines that match the pattern, each once, with … in place of the others."""
    kept = []
    for line in text.split("\n"):
        if re.search(pattern, line) and line not in kept:
            kept.append(line)
        elif not kept or kept[-1] != "…":
            kept.append("…")
    return "\n".join(kept)
