"""What the peers in Python share: options, data, the clock, and the line of JSON that each prints."""

import argparse
import gzip
import importlib
import json
import os
import pathlib
import statistics
import sys
import time

SKIPPED = 77
CLASSES = 10


def positive(text):
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"expected a number from 1 on, found {text!r}")
    return int(text)


def widths(text):
    return [positive(width) for width in text.split(",")]


def batch_size(text):
    return None if text == "full" else positive(text)


def read_options(description, has_aten=False):
    """The options of the command line; has_aten: LibTorch brings a pool of its own. It has to come before any import of a numerical package."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--dataset", default="fashion-mnist", help="a name, or the folder of the four files")
    parser.add_argument("--hidden", type=widths, default=[98], help="widths, separated by commas")
    parser.add_argument("--batch-size", type=batch_size, default=128, help="samples a step, or full")
    parser.add_argument("--epochs", type=positive, default=5)
    parser.add_argument("--seed", type=int, default=1)
    if has_aten:
        parser.add_argument("--aten-threads", type=positive, default=1, help="of LibTorch's own pool")
    parser.add_argument("--blas-threads", type=positive, default=1, help="of the matrix library's pool")
    options = parser.parse_args()
    # A matrix library reads these when it is loaded.
    for variable in ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS"):
        os.environ[variable] = str(options.blas_threads)
    return options


def require(package):
    """The package, or the end of this peer with a line that says what is missing."""
    try:
        return importlib.import_module(package)
    except ImportError:
        print(f"{pathlib.Path(sys.argv[0]).name}: skipped: this Python has no {package}", file=sys.stderr)
        sys.exit(SKIPPED)


def folder_of(dataset):
    """Where twingrad looks for a data set, see cpp/twingrad/data/dataset.h."""
    home = os.environ.get("XDG_DATA_HOME") or os.path.expanduser("~/.local/share")
    folders = [f"data/{dataset}", f"{home}/twingrad/{dataset}", f"/usr/share/datasets/{dataset}", dataset]
    if os.environ.get("TWINGRAD_DATA"):
        folders.insert(0, f"{os.environ['TWINGRAD_DATA']}/{dataset}")
    for folder in map(pathlib.Path, folders):
        if any((folder / f"train-images-idx3-ubyte{ending}").exists() for ending in ("", ".gz")):
            return folder
    print(f"{pathlib.Path(sys.argv[0]).name}: error: --dataset: expected the data set {dataset} in one of "
          f"{', '.join(folders)}, found it in none; see ./script/fetch-data --help", file=sys.stderr)
    sys.exit(2)


def read_file(folder, name, header_size):
    """The content of an IDX file, plain or packed, without its header."""
    plain = folder / name
    content = plain.read_bytes() if plain.exists() else gzip.decompress((folder / f"{name}.gz").read_bytes())
    return bytearray(content)[header_size:]


def load(dataset):
    """Pixels and labels as bytes: of the training part, then of the test part."""
    folder = folder_of(dataset)
    return [(read_file(folder, f"{part}-images-idx3-ubyte", 16), read_file(folder, f"{part}-labels-idx1-ubyte", 8))
            for part in ("train", "t10k")]


def load_arrays(numpy, dataset):
    """The same as numpy arrays: images [N, D] float32, x/255, and labels [N] int64."""
    parts = []
    for pixels, labels in load(dataset):
        images = numpy.frombuffer(pixels, numpy.uint8).reshape(len(labels), -1).astype(numpy.float32)
        images /= 255
        parts.append((images, numpy.frombuffer(labels, numpy.uint8).astype(numpy.int64)))
    return parts


def seconds_of(train_epoch, epochs):
    """The wall time of each epoch."""
    seconds = []
    for _ in range(epochs):
        start = time.perf_counter()
        train_epoch()
        seconds.append(time.perf_counter() - start)
    return seconds


def report(name, version, threads, seconds, count, accuracy):
    print(json.dumps({"name": name, "version": version, "threads": threads, "seconds_per_epoch": seconds,
                      "samples_per_second": count / statistics.median(seconds), "test_accuracy": accuracy}))
