"""Tests the exchange of weights with Python: interchange_test.py PROGRAM

Twingrad starts from a state dict saved by Python (--init). Python and both twins then train on the same
images for 200 steps of Adam, and their losses must agree. The trained weights, as .safetensors and as .pt,
must give the same logits in Python as in twingrad. Exit status 77 (skipped) if Python's torch is not
installed.
"""

import json
import pathlib
import pickletools
import random
import struct
import subprocess
import sys
import tempfile
import unittest
import zipfile
import zlib

try:
    import torch
except ImportError:
    print("skipped: Python's torch is not installed")
    sys.exit(77)

PROGRAM = pathlib.Path(sys.argv.pop(1)).resolve()
STEPS = 200
IMAGES = 90
SIDE = 8
CLASSES = 10

# Bound on the relative difference of the losses: rounding, which grows over 200 steps.
LOSS_BOUND = {"float32": 1e-4, "float64": 1e-10}
LOGITS_BOUND = 1e-5

nn = torch.nn
INPUTS = SIDE * SIDE
ARCHITECTURES = {
    "relu": (
        lambda: nn.Sequential(nn.Linear(INPUTS, 24), nn.ReLU(), nn.Linear(24, CLASSES)),
        ["--hidden", "24"]),
    "gelu, layer normalization": (
        lambda: nn.Sequential(nn.Linear(INPUTS, 20), nn.LayerNorm(20), nn.GELU(), nn.Linear(20, 12),
                              nn.LayerNorm(12), nn.GELU(), nn.Linear(12, CLASSES)),
        ["--hidden", "20,12", "--activation", "gelu", "--normalization", "layer"]),
    "tanh, batch normalization": (
        lambda: nn.Sequential(nn.Linear(INPUTS, 16, bias=False), nn.BatchNorm1d(16), nn.Tanh(),
                              nn.Linear(16, CLASSES)),
        ["--hidden", "16", "--activation", "tanh", "--normalization", "batch"]),
}


def read_safetensors(path):
    """Reads the format as specified: length of the header, header, data."""
    content = path.read_bytes()
    size = struct.unpack("<Q", content[:8])[0]
    header = json.loads(content[8:8 + size])
    header.pop("__metadata__")
    dtypes = {"F32": torch.float32, "F64": torch.float64, "I64": torch.int64}
    tensors = {}
    for name, entry in header.items():
        begin, end = entry["data_offsets"]
        data = bytearray(content[8 + size + begin:8 + size + end])
        tensors[name] = torch.frombuffer(data, dtype=dtypes[entry["dtype"]]).view(entry["shape"])
    return tensors


def write_png(path, pixels):
    """Writes an 8-bit grayscale image."""
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    rows = b"".join(b"\0" + bytes(pixels[row * SIDE:(row + 1) * SIDE]) for row in range(SIDE))
    header = struct.pack(">IIBBBBB", SIDE, SIDE, 8, 0, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) +
                     chunk(b"IEND", b""))


def relative_difference(value, reference):
    return abs(value - reference) / abs(reference)


class Interchange(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.temporary = tempfile.TemporaryDirectory()
        cls.folder = pathlib.Path(cls.temporary.name)
        draw = random.Random(1)
        cls.labels = [i % CLASSES for i in range(IMAGES)]
        # Each class has its own pattern with noise, so the network can learn it.
        patterns = [[draw.randrange(256) for _ in range(INPUTS)] for _ in range(CLASSES)]
        cls.pixels = [[(pixel + draw.randrange(128)) // 2 for pixel in patterns[label]]
                      for label in cls.labels]
        data = cls.folder / "data"
        data.mkdir()
        for part in ("train", "t10k"):
            (data / f"{part}-images-idx3-ubyte").write_bytes(
                struct.pack(">IIII", 0x803, IMAGES, SIDE, SIDE) + bytes(sum(cls.pixels, [])))
            (data / f"{part}-labels-idx1-ubyte").write_bytes(
                struct.pack(">II", 0x801, IMAGES) + bytes(cls.labels))

    @classmethod
    def tearDownClass(cls):
        cls.temporary.cleanup()

    def twingrad(self, *arguments):
        done = subprocess.run([PROGRAM, *map(str, arguments)], cwd=self.folder, capture_output=True,
                              text=True)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout

    runs = {}

    def train(self, name, dtype):
        if (name, dtype) not in self.runs:
            self.runs[name, dtype] = self.train_both(name, dtype)
        return self.runs[name, dtype]

    def train_both(self, name, dtype):
        """Trains the same network with Python and with twingrad. Returns Python's network and losses, and the
        run directory of twingrad."""
        make, options = ARCHITECTURES[name]
        torch.manual_seed(1)
        network = make().to(getattr(torch, dtype))
        with torch.no_grad():
            for parameter in network.parameters():  # scales and shifts would otherwise be 1 and 0
                parameter.add_(0.1 * torch.randn_like(parameter))
        start = self.folder / f"{name} {dtype}.pt"
        torch.save(network.state_dict(), start)
        out = self.folder / f"run {name} {dtype}"
        self.twingrad("train", "--dataset", "data", "--batch-size", "full", "--epochs", STEPS,
                      "--dtype", dtype, "--init", start, "--quiet", "--out", out, *options)
        images = torch.tensor(self.pixels, dtype=getattr(torch, dtype)) / 255
        labels = torch.tensor(self.labels)
        optimizer = torch.optim.Adam(network.parameters())
        losses = []
        for _ in range(STEPS):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(network(images), labels)
            losses.append(loss.item())
            loss.backward()
            optimizer.step()
        return network, losses, out

    def test_both_twins_train_like_python(self):
        for name in ARCHITECTURES:
            for dtype, bound in LOSS_BOUND.items():
                with self.subTest(name=name, dtype=dtype):
                    _, losses, out = self.train(name, dtype)
                    events = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
                    for twin in ("autograd", "manual"):
                        twin_losses = [event["train_loss"] for event in events if event.get("twin") == twin]
                        self.assertEqual(len(twin_losses), STEPS)
                        worst = max(map(relative_difference, twin_losses, losses))
                        self.assertLess(losses[-1], 0.8 * losses[0], "the network did not learn")
                        self.assertLessEqual(worst, bound)
                        print(f"{name}, {dtype}, {twin}: {STEPS} losses agree to {worst:.1e}")

    def test_trained_weights_give_the_same_logits(self):
        for name, (make, _) in ARCHITECTURES.items():
            for dtype in LOSS_BOUND:
                with self.subTest(name=name, dtype=dtype):
                    _, _, out = self.train(name, dtype)
                    images = self.folder / f"images {name} {dtype}"
                    images.mkdir()
                    for number in range(20):
                        write_png(images / f"{number:02}.png", self.pixels[number])
                    self.twingrad("export", "--model", out / "manual.safetensors", "--to", out / "manual.pt")
                    answers = json.loads(self.twingrad("predict", "--model", out, "--raw", "--json", images))
                    for twin, weights in (("manual", read_safetensors(out / "manual.safetensors")),
                                          ("autograd", read_safetensors(out / "autograd.safetensors")),
                                          ("manual", torch.load(out / "manual.pt")),
                                          ("manual", torch.load(out / "manual.pt", weights_only=True))):
                        network = make().to(getattr(torch, dtype))
                        network.load_state_dict(weights)
                        network.eval()
                        with torch.no_grad():
                            pixels = torch.tensor(self.pixels[:20], dtype=getattr(torch, dtype))
                            expected = network(pixels / 255)
                        logits = torch.tensor([answer[twin]["logits"] for answer in answers],
                                              dtype=expected.dtype)
                        worst = (logits - expected).abs().max().item()
                        self.assertLessEqual(worst, LOGITS_BOUND)
                        print(f"{name}, {dtype}, {twin}: logits agree to {worst:.1e}")

    def test_exported_pickle_needs_only_what_weights_only_allows(self):
        """The instructions and functions that torch.load allows by default, in the releases 1.13 to 2.9."""
        allowed = {"PROTO", "EMPTY_DICT", "MARK", "BINUNICODE", "GLOBAL", "TUPLE", "BINPERSID", "LONG1",
                   "NEWFALSE", "EMPTY_TUPLE", "REDUCE", "SETITEMS", "STOP"}
        _, _, out = self.train("tanh, batch normalization", "float64")
        self.twingrad("export", "--model", out, "--to", out / "allowed.pt")
        with zipfile.ZipFile(out / "allowed.pt") as archive:
            pickled = archive.read([name for name in archive.namelist() if name.endswith("data.pkl")][0])
        instructions = list(pickletools.genops(pickled))
        self.assertLessEqual({instruction.name for instruction, _, _ in instructions}, allowed)
        functions = {argument for instruction, argument, _ in instructions if instruction.name == "GLOBAL"}
        self.assertEqual(functions, {"torch._utils _rebuild_tensor_v2", "collections OrderedDict",
                                     "torch DoubleStorage", "torch LongStorage"})
        self.assertEqual(instructions[0][1], 2)

    def expect_logits(self, network, file, *options):
        """Expects that predict gives the logits of Python's network in evaluation mode."""
        write_png(self.folder / "one.png", self.pixels[0])
        network.eval()
        with torch.no_grad():
            logits = network(torch.tensor([self.pixels[0]], dtype=torch.float32) / 255)[0]
        answers = self.twingrad("predict", "--model", file, "--raw", "--json", "one.png", *options)
        answer = json.loads(answers)[0]
        for twin in ("autograd", "manual"):
            difference = (torch.tensor(answer[twin]["logits"]) - logits).abs().max().item()
            self.assertLessEqual(difference, LOGITS_BOUND)
            self.assertEqual(answer[twin]["class"], logits.argmax().item())

    def test_predict_reads_a_state_dict(self):
        network = ARCHITECTURES["relu"][0]()
        torch.save(dict(network.state_dict()), self.folder / "plain.pt")
        self.expect_logits(network, "plain.pt")

    def test_predict_reads_what_python_programs_save(self):
        network = ARCHITECTURES["relu"][0]()
        state = network.state_dict()
        optimizer = torch.optim.Adam(network.parameters())
        network(torch.ones(1, INPUTS)).sum().backward()
        optimizer.step()
        file = self.folder / "saved.pt"
        contents = [
            {"epoch": 3, "model_state_dict": state, "optimizer_state_dict": optimizer.state_dict(),
             "loss": 0.5},
            {"state_dict": {"model." + name: tensor for name, tensor in state.items()}, "epoch": 3},
            nn.DataParallel(network).state_dict(),
            dict(reversed(state.items())),
        ]
        for content in contents:
            for protocol in (2, 3, 4, 5):
                torch.save(content, file, pickle_protocol=protocol)
                self.expect_logits(network, file)
        torch.jit.script(network).save(file)
        self.expect_logits(network, file)

    def test_predict_reads_networks_of_classes(self):
        class Network(nn.Module):
            def __init__(self):
                super().__init__()
                self.out = nn.Linear(12, CLASSES)
                self.fc1 = nn.Linear(INPUTS, 24)
                self.fc2 = nn.Linear(24, 12)

            def forward(self, x):
                return self.out(torch.tanh(self.fc2(torch.tanh(self.fc1(x)))))

        network = Network()
        torch.save(network.state_dict(), self.folder / "class.pt")
        self.expect_logits(network, "class.pt", "--activation", "tanh")

    def test_a_bias_before_batch_normalization_keeps_the_outputs(self):
        torch.manual_seed(2)
        network = nn.Sequential(nn.Linear(INPUTS, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.5),
                                nn.Linear(16, 12), nn.BatchNorm1d(12), nn.ReLU(), nn.Dropout(0.5),
                                nn.Linear(12, CLASSES))
        for layer in (network[0], network[4]):
            nn.init.normal_(layer.bias)
        for _ in range(5):  # running statistics
            network(torch.rand(32, INPUTS))
        self.assertTrue(network[1].running_mean.abs().max() > 0.1)
        torch.save(network.state_dict(), self.folder / "bias.pt")
        self.expect_logits(network, "bias.pt")

    def test_a_bias_before_batch_normalization_does_not_change_training(self):
        """In training, the mean of the batch contains the bias, so the losses are the same. SGD: rounding in
        the gradient of the bias, which is 0, would move it by a learning rate of Adam."""
        torch.manual_seed(3)
        network = nn.Sequential(nn.Linear(INPUTS, 16), nn.BatchNorm1d(16), nn.ReLU(),
                                nn.Linear(16, CLASSES)).double()
        nn.init.normal_(network[0].bias)
        torch.save(network.state_dict(), self.folder / "start.pt")
        out = self.folder / "run with bias"
        self.twingrad("train", "--dataset", "data", "--batch-size", "full", "--epochs", 20,
                      "--dtype", "float64", "--init", "start.pt", "--quiet", "--out", out, "--hidden", "16",
                      "--normalization", "batch", "--optimizer", "sgd", "--lr", "0.1")
        images = torch.tensor(self.pixels, dtype=torch.float64) / 255
        labels = torch.tensor(self.labels)
        optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
        losses = []
        for _ in range(20):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(network(images), labels)
            losses.append(loss.item())
            loss.backward()
            optimizer.step()
        events = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
        for twin in ("autograd", "manual"):
            twin_losses = [event["train_loss"] for event in events if event.get("twin") == twin]
            self.assertLessEqual(max(map(relative_difference, twin_losses, losses)), LOSS_BOUND["float64"])
        network.eval()
        with torch.no_grad():
            expected = network(images[:1])[0]
        write_png(self.folder / "one.png", self.pixels[0])
        answer = json.loads(self.twingrad("predict", "--model", out, "--raw", "--json", "one.png"))[0]
        difference = (torch.tensor(answer["manual"]["logits"]) - expected).abs().max().item()
        self.assertLessEqual(difference, LOGITS_BOUND)


if __name__ == "__main__":
    unittest.main()
