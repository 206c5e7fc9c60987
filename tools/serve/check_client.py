"""Runs all of Triton's own Python client against a server, and exits 1 where an answer is not what it must be.

    pip install -r tools/serve/requirements.txt
    python tools/serve/check_client.py 127.0.0.1:8000 MODEL [--token TOKEN] [--identity] [--dim 2]

Every way to ask for the same must give the same: JSON and binary, packed and plain, at once and later, all outputs and
each. `--identity`: the model gives its input back, so the values are checked too. `--token`: unloads the model and loads
it again. `--dim`: the size of dimensions that the model leaves open. Server for a try: node --import tsx tools/serve/known-server.ts
"""

from __future__ import annotations

import argparse
import sys

import numpy as np
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException

from client_cases import VALUES, input_of, numpy_dtype, same

problems: list[str] = []


def check(holds: bool, what: str) -> None:
    print("ok  " if holds else "FAIL", what)
    if not holds:
        problems.append(what)


def refused(call, what: str, *statuses: str) -> None:
    try:
        call()
    except InferenceServerException as error:
        check(error.status() in statuses and bool(error.message()), f"{what}: {error}")
    else:
        check(False, f"{what}: expected the status {' or '.join(statuses)}, found an answer")


def random_array(datatype: str, shape: list[int], random: np.random.Generator) -> np.ndarray:
    if datatype == "BYTES":
        return random.choice(np.array([text.encode() for text in VALUES["BYTES"]], np.object_), shape)
    if datatype.startswith(("FP", "BF")):
        return random.standard_normal(shape).astype(numpy_dtype(datatype))
    # In the range of any index, mask and vocabulary.
    return random.integers(0, 2, shape).astype(numpy_dtype(datatype))


def check_server(client: triton.InferenceServerClient, model: str) -> tuple[dict, str]:
    check(client.is_server_live(), "live")
    check(client.is_server_ready(), "ready")
    check(bool(client.get_server_metadata()["name"]), "server metadata")
    metadata = client.get_model_metadata(model)
    version = metadata["versions"][-1]
    check(metadata["name"] == model, "model metadata")
    check(client.get_model_metadata(model, version) == metadata, "model metadata of the version")
    check(client.is_model_ready(model), "model ready")
    check(client.is_model_ready(model, version), "model ready, of the version")
    check(not client.is_model_ready("no-such-model"), "no model, not ready")
    config = client.get_model_config(model)
    names = [port["name"] for port in metadata["inputs"]]
    check([port["name"] for port in config["input"]] == names, "model config")
    rows = [row for row in client.get_model_repository_index() if row["name"] == model]
    check(any(row["version"] == version and row["state"] == "READY" for row in rows), "repository index")
    refused(lambda: client.get_model_metadata("no-such-model"), "metadata of no model", "404")
    refused(lambda: client.get_model_metadata("..%2f"), "metadata of no name", "400")
    return metadata, version


def success_count(client: triton.InferenceServerClient, model: str, version: str) -> int:
    every = client.get_inference_statistics()["model_stats"]
    (own,) = client.get_inference_statistics(model, version)["model_stats"]
    check(any(row["name"] == model for row in every), "statistics of all models")
    return own["inference_stats"]["success"]["count"]


class Asking:
    """One set of inputs, asked for in all ways."""

    def __init__(self, client: triton.InferenceServerClient, metadata: dict, dim: int):
        random = np.random.default_rng(5)
        self.client = client
        self.count = 0
        self.model = metadata["name"]
        self.outputs = {port["name"]: port["datatype"] for port in metadata["outputs"]}
        self.arrays = {}
        for port in metadata["inputs"]:
            shape = [dim if size < 0 else size for size in port["shape"]]
            self.arrays[port["name"]] = (port["datatype"], random_array(port["datatype"], shape, random))

    def inputs(self, binary: bool) -> list[triton.InferInput]:
        return [
            # Half precision has no JSON form.
            input_of(name, datatype, array, binary or datatype in ("FP16", "BF16"))
            for name, (datatype, array) in self.arrays.items()
        ]

    def asked(self, binary: bool) -> list[triton.InferRequestedOutput]:
        return [
            triton.InferRequestedOutput(name, binary_data=binary or datatype in ("FP16", "BF16"))
            for name, datatype in self.outputs.items()
        ]

    def ask(self, given: bool = True, wanted: bool | None = True, later: bool = False, **options):
        outputs = None if wanted is None else self.asked(wanted)
        run = self.client.async_infer if later else self.client.infer
        result = run(self.model, self.inputs(given), outputs=outputs, **options)
        if later:
            result = result.get_result()
        self.count += 1
        return {name: result.as_numpy(name) for name in self.outputs}, result.get_response()


def check_infer(asking: Asking, version: str, identity: bool) -> None:
    first, _ = asking.ask()
    if identity:
        given = [array for _, array in asking.arrays.values()]
        found = list(first.values())
        check(len(given) == len(found) and all(map(same, given, found)), "the outputs are the inputs")
    ways: dict[str, dict] = {
        "JSON, both ways": {"given": False, "wanted": False},
        "JSON in": {"given": False},
        "JSON out": {"wanted": False},
        "all outputs": {"wanted": None},
        "the version": {"model_version": version},
        "async": {"later": True},
        "priority and timeout": {"priority": 1, "timeout": 20_000_000},
        "parameters": {"parameters": {"text": "t", "number": 1, "truth": True}},
    }
    for packing in ("gzip", "deflate"):
        ways[f"{packing} in"] = {"request_compression_algorithm": packing}
        ways[f"{packing} out"] = {"response_compression_algorithm": packing, "wanted": False}
        ways[f"{packing}, async"] = {"request_compression_algorithm": packing, "later": True}
    for what, options in ways.items():
        found, _ = asking.ask(**options)
        check(all(same(first[name], array) for name, array in found.items()), f"infer: {what}")
    _, response = asking.ask(request_id="id 7")
    check(response.get("id") == "id 7", "infer: the id comes back")


def check_classes(asking: Asking) -> None:
    for name, datatype in asking.outputs.items():
        if datatype in ("BYTES", "BOOL"):
            continue
        wanted = [triton.InferRequestedOutput(name, class_count=1)]
        result = asking.client.infer(asking.model, asking.inputs(True), outputs=wanted)
        plain, _ = asking.ask()
        best = [item.decode().split(":")[:2] for item in result.as_numpy(name).flat]
        rows = plain[name].astype(np.float64).reshape(len(best), -1)
        expected = [[f"{row.max():.6f}", str(row.argmax())] for row in rows]
        check(best == expected, f"classification of {name}")


def check_refusals(asking: Asking) -> None:
    client, model = asking.client, asking.model
    inputs = asking.inputs(True)
    refused(lambda: client.infer("no-such-model", inputs), "infer: no model", "404")
    refused(lambda: client.infer(model, inputs[1:]), "infer: an input is missing", "400")
    wanted = [triton.InferRequestedOutput("no-such-output")]
    refused(lambda: client.infer(model, inputs, outputs=wanted), "infer: no such output", "400")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url", help="host:port")
    parser.add_argument("model")
    parser.add_argument("--token", help="admin token")
    parser.add_argument("--identity", action="store_true")
    parser.add_argument("--dim", type=int, default=2)
    options = parser.parse_args()
    with triton.InferenceServerClient(options.url) as client:
        metadata, version = check_server(client, options.model)
        before = success_count(client, options.model, version)
        asking = Asking(client, metadata, options.dim)
        check_infer(asking, version, options.identity)
        check(success_count(client, options.model, version) == before + asking.count, "statistics count what succeeded")
        check_classes(asking)
        check_refusals(asking)
        if options.token:
            headers = {"Authorization": f"Bearer {options.token}"}
            client.unload_model(options.model, headers=dict(headers))
            check(not client.is_model_ready(options.model), "unloaded: not ready")
            client.load_model(options.model, headers=dict(headers))
            check(client.is_model_ready(options.model), "loaded: ready")
            asking.ask()
        refused(lambda: client.unload_model(options.model), "unload without a token", "401", "403")
    print(f"{len(problems)} differences")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
