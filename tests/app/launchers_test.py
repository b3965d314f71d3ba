"""Starts several processes with script/launch, mpirun and torchrun: launchers_test.py LAUNCH PROGRAM

Tests of launchers that are not installed are skipped.
"""

import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest

LAUNCH, PROGRAM = (os.path.abspath(path) for path in (sys.argv.pop(1), sys.argv.pop(1)))
SHORT = ["train", "--dataset", "synthetic", "--hidden", "16", "--epochs", "2", "--quiet", "--out", "run"]
LONG = [*SHORT, "--epochs", "100000"]
OTHERS_END = 30  # seconds after a rank is lost
GRACE = 15  # seconds that script/launch gives them


class Folder(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)

    def path(self, *names):
        return pathlib.Path(self.folder.name, *names)

    def run_command(self, command, **environment):
        return subprocess.run(command, cwd=self.path(), env=dict(os.environ, **environment), check=False,
                              capture_output=True, text=True)

    def expect_weights(self):
        for twin in ("manual", "autograd"):
            self.assertTrue(self.path("run", f"{twin}.safetensors").exists())


class Launch(Folder):
    """script/launch"""

    def launch(self, arguments, ranks=2):
        return [LAUNCH, "-n", str(ranks), "--program", PROGRAM, *arguments]

    def start(self):
        """Starts a long run. Returns the launcher, and the processes by rank, after a checkpoint."""
        launcher = subprocess.Popen(self.launch(LONG), cwd=self.path(), stdout=subprocess.PIPE,
                                    stderr=subprocess.PIPE, text=True)
        checkpoints = self.path("run", "checkpoint")
        while not list(checkpoints.glob("step-*[1-9].safetensors")):
            self.assertIsNone(launcher.poll())
            time.sleep(0.05)
        children = pathlib.Path(f"/proc/{launcher.pid}/task/{launcher.pid}/children").read_text().split()
        ranks = {}
        for child in children:
            for variable in pathlib.Path(f"/proc/{child}/environ").read_bytes().split(b"\0"):
                if variable.startswith(b"RANK="):
                    ranks[int(variable[5:])] = int(child)
        return launcher, ranks

    def expect_end(self, launcher, ranks, status, seconds, message):
        start = time.monotonic()
        _, errors = launcher.communicate()
        self.assertLess(time.monotonic() - start, seconds)
        self.assertEqual(launcher.returncode, status, errors)
        self.assertIn(message, errors)
        for process in ranks.values():
            self.assertFalse(os.path.exists(f"/proc/{process}"))

    def test_trains(self):
        for ranks in (1, 2, 3):
            outcome = self.run_command(self.launch(SHORT, ranks))
            self.assertEqual((outcome.returncode, outcome.stdout, outcome.stderr), (0, "", ""))
            self.expect_weights()
            shutil.rmtree(self.path("run"))

    def test_starts_many_times(self):
        for _ in range(10):
            outcome = self.run_command(self.launch([*SHORT, "--epochs", "1", "--twins", "manual"]))
            self.assertEqual((outcome.returncode, outcome.stderr), (0, ""))
            shutil.rmtree(self.path("run"))

    def test_refuses_wrong_usage(self):
        for arguments in (["-n", "0", "train"], ["-n"], ["--ranks", "2", "train"], [], ["bench"]):
            outcome = self.run_command([LAUNCH, *arguments])
            self.assertEqual((outcome.returncode, outcome.stderr.count("\n")), (2, 1), outcome.stderr)
            self.assertTrue(outcome.stderr.startswith("launch: error: expected "), outcome.stderr)

    def test_passes_on_a_failure(self):
        outcome = self.run_command(self.launch(["train", "--lr", "x"]))
        self.assertEqual((outcome.returncode, outcome.stderr.count("\n")), (2, 1), outcome.stderr)

    def test_says_the_same_on_a_slow_machine(self):
        """Shells tell of killed processes between two commands: each command of the script takes its time."""
        self.path("slow.sh").write_text("trap 'sleep 0.05' DEBUG\n")
        self.path("rank.sh").write_text("""#!/bin/sh
            case $RANK in
              0) exit 2 ;;
              *) kill -KILL $$ ;;
            esac\n""")
        self.path("rank.sh").chmod(0o755)
        for ranks, status, message in ((1, 2, ""), (2, 137, "launch: a process was ended by signal 9\n")):
            command = [LAUNCH, "-n", str(ranks), "--program", self.path("rank.sh"), "train"]
            outcome = self.run_command(command, BASH_ENV=self.path("slow.sh"))
            self.assertEqual((outcome.returncode, outcome.stderr), (status, message))

    def test_interrupt_stops_all(self):
        for number in (signal.SIGINT, signal.SIGTERM):
            launcher, ranks = self.start()
            launcher.send_signal(number)
            self.expect_end(launcher, ranks, 130, 10, "resume with: twingrad train --resume run")
            shutil.rmtree(self.path("run"))

    def test_killed_rank_ends_all(self):
        launcher, ranks = self.start()
        os.kill(ranks[1], signal.SIGKILL)
        self.expect_end(launcher, ranks, 137, 10, "twingrad: error: rank 0 of 2: expected all processes")

    def test_stopped_rank_ends_all(self):
        launcher, ranks = self.start()
        os.kill(ranks[1], signal.SIGSTOP)
        self.expect_end(launcher, ranks, 137, OTHERS_END + GRACE, "twingrad: error: rank 0 of 2: expected")


class OtherLaunchers(Folder):
    """Launchers that are not ours."""

    @unittest.skipUnless(shutil.which("mpirun"), "mpirun is not installed")
    def test_mpirun(self):
        mpirun = ["mpirun", "--allow-run-as-root", "--oversubscribe", "-n", "2", PROGRAM]
        outcome = self.run_command([*mpirun, *SHORT])
        self.assertEqual((outcome.returncode, outcome.stdout, outcome.stderr), (0, "", ""))
        self.expect_weights()
        outcome = self.run_command([*mpirun, "train", "--lr", "x"])
        self.assertEqual(outcome.returncode, 2)
        self.assertEqual(outcome.stderr.count("twingrad: error: --lr: "), 1, outcome.stderr)

    @unittest.skipUnless(shutil.which("torchrun"), "torchrun is not installed")
    def test_torchrun(self):
        torchrun = ["torchrun", "--standalone", "--nproc_per_node", "2", "--redirects", "0:1", "--tee", "0:1",
                    "--no_python", PROGRAM]
        outcome = self.run_command([*torchrun, *SHORT])
        self.assertEqual(outcome.returncode, 0, outcome.stderr)
        self.expect_weights()
        outcome = self.run_command([*torchrun, "train", "--lr", "x"])
        self.assertNotEqual(outcome.returncode, 0)
        self.assertIn("--lr: expected", outcome.stderr.partition("Root Cause")[2], outcome.stderr)


if __name__ == "__main__":
    unittest.main()
