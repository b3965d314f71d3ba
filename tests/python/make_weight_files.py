#!/usr/bin/python3
"""Writes the files of tests/io/data as Python's torch saves them.

usage: make_weight_files.py DIRECTORY

The files in the repository were written with torch 1.13, except state_dict_torch_2.6.pt, which is
state_dict.pt as torch 2.6 writes it. tests/io/tensor_file_test.cpp checks their content.
"""

import os
import pathlib
import sys

import torch


class Hostile:
    """Runs a command when Python unpickles it."""

    def __reduce__(self):
        return os.system, ("exit 1",)


def linear() -> torch.nn.Linear:
    module = torch.nn.Linear(3, 2)
    with torch.no_grad():
        module.weight.copy_(torch.arange(6.0).reshape(2, 3))
        module.bias.copy_(torch.tensor([-1.0, 0.5]))
    return module


def element_types() -> dict[str, torch.Tensor]:
    return {
        "float64": torch.tensor([0.1, -2.0], dtype=torch.float64),
        "half": torch.tensor([0.5, -2.0], dtype=torch.float16),
        "bfloat16": torch.tensor([0.5, -3.0], dtype=torch.bfloat16),
        "int64": torch.tensor([2**40, -1]),
        "uint8": torch.tensor([0, 255], dtype=torch.uint8),
        "bool": torch.tensor([True, False]),
    }


def views() -> dict[str, torch.Tensor]:
    matrix = torch.arange(6.0).reshape(2, 3)
    return {
        "whole": matrix,
        "transposed": matrix.t(),
        "column": matrix[:, 1],
        "expanded": matrix[0, :1].expand(4),
        "scalar": matrix[1, 2],
        "empty": matrix[:0],
        "parameter": torch.nn.Parameter(matrix[1]),
    }


def training_checkpoint() -> dict[str, object]:
    """What a training program stores: the state of the network, of its optimizer and of a schedule."""
    module = linear()
    optimizer = torch.optim.Adam(module.parameters(), lr=0.01, betas=(0.8, 0.9))
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, milestones=[3, 5])
    state = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    module(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    schedule.step()
    return {
        "epoch": 3,
        "best": 0.75,
        "name": "linear",
        "optimizer_state_dict": optimizer.state_dict(),
        "scheduler": schedule.state_dict(),
        "model_state_dict": state,
        "loss": torch.tensor(0.5),
        "shape": module.weight.shape,
        "device": torch.device("cpu"),
        "done": False,
        "dtype": torch.float32,
        "bytes": b"\x00\xff",
        "rng": torch.get_rng_state()[:8].clone(),
    }


class Network(torch.nn.Module):
    """For TorchScript, with attributes that do not belong to the state dict."""

    def __init__(self):
        super().__init__()
        self.scale = 2.5
        self.net = torch.nn.Sequential(linear(), torch.nn.BatchNorm1d(2))

    def forward(self, x):
        return self.scale * self.net(x)


def main(folder: pathlib.Path) -> None:
    contents = {
        "state_dict": linear().state_dict(),
        "element_types": element_types(),
        "views": views(),
        "no_tensors": {},
        "checkpoint": {"model": linear().state_dict(), "epoch": 3},
        "module": linear(),
        "hostile": {"weight": Hostile()},
        "training_checkpoint": training_checkpoint(),
        "hostile_checkpoint": {"model": linear().state_dict(), "callback": Hostile()},
    }
    for name, content in contents.items():
        torch.save(content, folder / f"{name}.pt")
    for protocol in (3, 4, 5):
        torch.save(linear().state_dict(), folder / f"protocol_{protocol}.pt", pickle_protocol=protocol)
    torch.save(linear().state_dict(), folder / "before_1.6.pt", _use_new_zipfile_serialization=False)
    torch.jit.script(Network()).save(folder / "torch_script.pt")


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
