"""Exports architectures by all exporters, and writes what each weight of the file truly is.

    python export.py OUT [--exporters=ts13,ts17,dynamo] [NAME...]

For each name and exporter: OUT/<name>@<exporter>/model.onnx and truth.json, which
gives every float initializer and constant its share of elements that are those of a
parameter, or of a buffer, of the module. Random weights make that exact: no two
elements of the module are equal, whatever an exporter transposed, cut or joined.
"""

from __future__ import annotations

import json
import logging
import sys
import warnings
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import numpy_helper

from architectures import build, names

EXPORTERS = ("ts13", "ts17", "dynamo")


def scatter(module: torch.nn.Module) -> None:
    """Gives every element of every parameter and of running statistics a value of its own."""
    torch.manual_seed(7)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter += 0.02 * torch.randn_like(parameter)
        for name, buffer in module.named_buffers():
            if name.endswith(("running_mean", "running_var")):
                buffer += 0.1 * torch.rand_like(buffer)


def export(module: torch.nn.Module, inputs: tuple[torch.Tensor, ...], exporter: str, path: Path) -> None:
    if exporter == "dynamo":
        program = torch.onnx.export(module, inputs, dynamo=True, verbose=False)
        program.save(str(path), external_data=False)
        return
    # ts13 is what most files of the last years are: folded for inference. ts17 keeps batch norms.
    keep = torch.onnx.TrainingMode.PRESERVE if exporter == "ts17" else torch.onnx.TrainingMode.EVAL
    torch.onnx.export(
        module, inputs, str(path), opset_version=int(exporter[2:]), training=keep, dynamo=False,
        dynamic_axes=None, input_names=[f"input_{i}" for i in range(len(inputs))],
    )


def elements(tensors) -> np.ndarray:
    parts = [t.detach().float().numpy().ravel() for t in tensors if t.dtype.is_floating_point]
    return np.unique(np.concatenate(parts)) if parts else np.zeros(0, np.float32)


def tensors_of(graph: onnx.GraphProto):
    for tensor in graph.initializer:
        yield tensor.name, tensor
    for node in graph.node:
        for attribute in node.attribute:
            if node.op_type == "Constant" and attribute.name == "value":
                yield node.output[0], attribute.t
            if attribute.HasField("g"):
                yield from tensors_of(attribute.g)


def truth(module: torch.nn.Module, path: Path) -> dict:
    parameters, buffers = elements(module.parameters()), elements(module.buffers())
    found = {}
    for name, tensor in tensors_of(onnx.load(str(path)).graph):
        values = numpy_helper.to_array(tensor)
        if values.dtype not in (np.float32, np.float16, np.float64) or values.size == 0:
            continue
        values = values.astype(np.float32).ravel()
        share = lambda known: float(np.isin(values, known).mean())
        found[name] = {"parameter": share(parameters), "buffer": share(buffers), "size": int(values.size)}
    return found


def main(out: Path, exporters: list[str], wanted: list[str]) -> None:
    for name in wanted:
        for exporter in exporters:
            folder = out / f"{name.replace(':', '-')}@{exporter}"
            if (folder / "truth.json").exists():
                continue
            folder.mkdir(parents=True, exist_ok=True)
            try:
                torch.manual_seed(0)
                module, inputs = build(name, exporter != "ts13")
                module.eval()
                scatter(module)
                export(module, inputs, exporter, folder / "model.onnx")
                (folder / "truth.json").write_text(json.dumps(truth(module, folder / "model.onnx")))
                print(f"{name} {exporter}: done", flush=True)
            except Exception as error:  # one that cannot be exported must not stop the others
                print(f"{name} {exporter}: {type(error).__name__} {str(error).splitlines()[0][:200]}", flush=True)


if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)
    torch.set_num_threads(1)
    option = "--exporters="
    chosen = [a.removeprefix(option).split(",") for a in sys.argv if a.startswith(option)]
    wanted = [a for a in sys.argv[2:] if not a.startswith(option)]
    main(Path(sys.argv[1]), chosen[0] if chosen else list(EXPORTERS), wanted or names())
