#!/usr/bin/env python3
"""Trains in two network namespaces, as on two hosts: network_namespaces_test.py PROGRAM

Each rank has its own address. The test cuts the Ethernet link between them. Exit status: 0 passed, 1 failed,
77 the system does not allow namespaces.
"""

import os
import pathlib
import subprocess
import sys
import tempfile
import time

SKIPPED = 77
ADDRESSES = ["10.77.0.1", "10.77.0.2"]
LONGEST_WAIT = 30  # seconds, for the end of a rank after the link is cut
STEPS_PER_EPOCH = 8  # 2,000 images, 128 per rank
OPTIONS = ["train", "--dataset", "synthetic", "--hidden", "16", "--quiet"]


def enter_own_network():
    """Runs this test again in a new network namespace, so that the links do not exist outside."""
    users = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    unshare = ["unshare", *users, "--net"]
    ways = [*unshare, "sh", "-c", "ip link add name end0 type veth peer name end1 && unshare --net true"]
    try:
        allowed = subprocess.run(ways, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        allowed = False
    if not allowed:
        print("skipped: network namespaces or the program ip are not available")
        sys.exit(SKIPPED)
    os.execvp("unshare", [*unshare, sys.executable, __file__, *sys.argv[1:], "inside"])


class Host:
    """A network namespace with one end of the link."""

    def __init__(self, end, address):
        self.end = end
        self.keeper = subprocess.Popen(["unshare", "--net", "sleep", "600"])
        while os.readlink(f"/proc/{self.keeper.pid}/ns/net") == os.readlink("/proc/self/ns/net"):
            time.sleep(0.01)
        subprocess.run(["ip", "link", "set", end, "netns", str(self.keeper.pid)], check=True)
        for command in (["address", "add", f"{address}/24", "dev", end], ["link", "set", end, "up"],
                        ["link", "set", "lo", "up"]):
            subprocess.run(self.inside(["ip", *command]), check=True)

    def inside(self, command):
        return ["nsenter", "--net", f"--target={self.keeper.pid}", *command]

    def cut(self):
        subprocess.run(self.inside(["ip", "link", "set", self.end, "down"]), check=True)


def start_ranks(hosts, program, folder, options, port):
    ranks = []
    for rank, host in enumerate(hosts):
        environment = dict(os.environ, RANK=str(rank), WORLD_SIZE="2", MASTER_ADDR=ADDRESSES[0],
                           MASTER_PORT=str(port), OMP_NUM_THREADS="1")
        ranks.append(subprocess.Popen(host.inside([program, *OPTIONS, *options]), cwd=folder, env=environment,
                                      stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True))
    return ranks


def expect(condition, message):
    if not condition:
        print(f"failed: {message}")
        sys.exit(1)


def test_training(hosts, program, folder):
    ranks = start_ranks(hosts, program, folder, ["--epochs", "2", "--out", "apart"], 5001)
    for rank in ranks:
        _, errors = rank.communicate()
        expect(rank.returncode == 0, f"status {rank.returncode} of a rank: {errors}")
    ranks = start_ranks([hosts[0], hosts[0]], program, folder, ["--epochs", "2", "--out", "together"], 5002)
    for rank in ranks:
        rank.communicate()
    for twin in ("manual", "autograd"):
        apart, together = (pathlib.Path(folder, run, f"{twin}.safetensors").read_bytes()
                           for run in ("apart", "together"))
        expect(apart == together, f"the weights of the {twin} twin differ from those of one host")


def test_cut_link(hosts, program, folder):
    ranks = start_ranks(hosts, program, folder, ["--epochs", "100000", "--out", "cut"], 5003)
    while not list(pathlib.Path(folder, "cut", "checkpoint").glob("step-*[1-9].safetensors")):
        expect(all(rank.poll() is None for rank in ranks), "a rank ended before the link was cut")
        time.sleep(0.05)
    hosts[1].cut()
    start = time.monotonic()
    for number, rank in enumerate(ranks):
        _, errors = rank.communicate()
        expect(rank.returncode == 2, f"status {rank.returncode} of rank {number}: {errors}")
        expect(errors.startswith(f"twingrad: error: rank {number} of 2: expected all processes to go on")
               and errors.count("\n") == 1, f"expected one line, found: {errors}")
    seconds = time.monotonic() - start
    expect(seconds < LONGEST_WAIT, f"the ranks ended after {seconds:.1f} s")
    print(f"both ranks ended {seconds:.1f} s after the link was cut")
    newest = max(pathlib.Path(folder, "cut", "checkpoint").glob("step-*.safetensors"))
    epochs = int(newest.stem.removeprefix("step-")) // STEPS_PER_EPOCH + 2
    resumed = subprocess.run([program, "train", "--resume", "cut", "--epochs", str(epochs), "--quiet"],
                             cwd=folder, check=False, capture_output=True, text=True)
    expect(resumed.returncode == 0, f"the run does not resume: {resumed.stderr}")


def main():
    if sys.argv[-1] != "inside":
        enter_own_network()
    program = os.path.abspath(sys.argv[1])
    subprocess.run(["ip", "link", "add", "name", "end0", "type", "veth", "peer", "name", "end1"], check=True)
    hosts = []
    try:
        hosts = [Host(end, address) for end, address in zip(("end0", "end1"), ADDRESSES)]
        with tempfile.TemporaryDirectory() as folder:
            test_training(hosts, program, folder)
            test_cut_link(hosts, program, folder)
    finally:
        for host in hosts:
            host.keeper.kill()
    print("passed")


if __name__ == "__main__":
    main()
