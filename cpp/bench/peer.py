"""Shared by the Python peers: options, data, timing, and the line of JSON that each peer prints."""

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
        raise argparse.ArgumentTypeError(f"expected a positive integer, found {text!r}")
    return int(text)


def widths(text):
    return [positive(width) for width in text.split(",")]


def batch_size(text):
    return None if text == "full" else positive(text)


def read_options(description, has_aten=False):
    """Parses the command line. Call it before importing a numerical package.

    has_aten: whether the peer uses LibTorch, which has its own thread pool.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--dataset", default="fashion-mnist", help="name or directory of the data set")
    parser.add_argument("--hidden", type=widths, default=[98], help="hidden layer widths, comma-separated")
    parser.add_argument("--batch-size", type=batch_size, default=128, help="samples per step, or full")
    parser.add_argument("--epochs", type=positive, default=5)
    parser.add_argument("--seed", type=int, default=1)
    if has_aten:
        parser.add_argument("--aten-threads", type=positive, default=1, help="threads of LibTorch's pool")
        parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--blas-threads", type=positive, default=1, help="threads of the BLAS library")
    options = parser.parse_args()
    # BLAS libraries read these when they are loaded.
    for variable in ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS"):
        os.environ[variable] = str(options.blas_threads)
    return options


def require(package):
    """Imports the package. If it is missing, exits with a message."""
    try:
        return importlib.import_module(package)
    except ImportError:
        print(f"{pathlib.Path(sys.argv[0]).name}: skipped: {package} is not installed", file=sys.stderr)
        sys.exit(SKIPPED)


def directory_of(dataset):
    """The directory of a data set; searches the same places as cpp/twingrad/data/dataset.h."""
    home = os.environ.get("XDG_DATA_HOME") or os.path.expanduser("~/.local/share")
    directories = [f"data/{dataset}", f"{home}/twingrad/{dataset}", f"/usr/share/datasets/{dataset}", dataset]
    if os.environ.get("TWINGRAD_DATA"):
        directories.insert(0, f"{os.environ['TWINGRAD_DATA']}/{dataset}")
    for directory in map(pathlib.Path, directories):
        if any((directory / f"train-images-idx3-ubyte{ending}").exists() for ending in ("", ".gz")):
            return directory
    print(f"{pathlib.Path(sys.argv[0]).name}: error: --dataset: expected the data set {dataset} in one of "
          f"{', '.join(directories)}, found it in none; see ./script/fetch-data --help", file=sys.stderr)
    sys.exit(2)


def read_file(directory, name, header_size):
    """The content of an IDX file, plain or gzipped, without its header."""
    plain = directory / name
    packed = directory / f"{name}.gz"
    content = plain.read_bytes() if plain.exists() else gzip.decompress(packed.read_bytes())
    return bytearray(content)[header_size:]


def load(dataset):
    """Pixels and labels as bytes: first the training set, then the test set."""
    directory = directory_of(dataset)
    return [(read_file(directory, f"{part}-images-idx3-ubyte", 16),
             read_file(directory, f"{part}-labels-idx1-ubyte", 8)) for part in ("train", "t10k")]


def load_arrays(numpy, dataset):
    """The same data as numpy arrays: images [N, D] float32, x/255, and labels [N] int64."""
    parts = []
    for pixels, labels in load(dataset):
        images = numpy.frombuffer(pixels, numpy.uint8).reshape(len(labels), -1).astype(numpy.float32)
        images /= 255
        parts.append((images, numpy.frombuffer(labels, numpy.uint8).astype(numpy.int64)))
    return parts


def seconds_of(train_epoch, epochs):
    """The wall time of each epoch in seconds."""
    seconds = []
    for _ in range(epochs):
        start = time.perf_counter()
        train_epoch()
        seconds.append(time.perf_counter() - start)
    return seconds


def report(name, version, threads, seconds, count, accuracy):
    print(json.dumps({"name": name, "version": version, "threads": threads, "seconds_per_epoch": seconds,
                      "samples_per_second": count / statistics.median(seconds), "test_accuracy": accuracy}))
