"""fixtures/serve/triton-client: the bytes that Triton's own Python client sends, one file for each request.

It starts nothing: the server must be there, with the models of known-server.ts. What goes into the client's sockets is
written down, the head as well as the body. index.json says of each request what was asked of the client, and the values of
its inputs (BYTES in hexadecimal, INT64 as text).

    node --import tsx tools/serve/known-server.ts          # prints its URL and the token for load and unload
    pip install -r tools/serve/requirements.txt
    python tools/serve/record_client.py 127.0.0.1:PORT TOKEN
"""

from __future__ import annotations

import json
import pathlib
import sys

import gevent.socket
import numpy as np
import tritonclient.http as triton

from client_cases import array_of, input_of

FOLDER = pathlib.Path(__file__).resolve().parents[2] / "fixtures" / "serve" / "triton-client"

sent: list[bytes] = []
send_all = gevent.socket.socket.sendall


def record(self, data, *arguments):
    sent.append(bytes(data))
    return send_all(self, data, *arguments)


def values_of(datatype: str, array: np.ndarray) -> list:
    if datatype == "BYTES":
        return [item.hex() for item in array.flat]
    if datatype == "INT64":
        return [str(item) for item in array.flat]
    return [item.item() if datatype == "BOOL" else float(item) for item in array.flat]


class Recorder:
    def __init__(self, url: str, token: str):
        self.url = url
        self.token = token
        self.index: list[dict] = []

    def take(self, name: str, call, **facts) -> None:
        """Records what `call` sends over a connection of its own."""
        sent.clear()
        with triton.InferenceServerClient(self.url) as client:
            call(client)
        data = b"".join(sent)
        # Port and token are the recording's, not the client's.
        data = data.replace(self.url.encode(), b"127.0.0.1:8000", 1).replace(self.token.encode(), b"token")
        (FOLDER / f"{name}.http").write_bytes(data)
        self.index.append({"name": name, **facts})

    def infer(self, name: str, model: str, inputs, outputs=None, run="infer", **options) -> None:
        """`inputs`: (name, datatype, array, binary); `outputs`: (name, binary, classes)."""

        def call(client):
            tensors = [input_of(*entry) for entry in inputs]
            asked = outputs and [
                triton.InferRequestedOutput(output, binary_data=binary, class_count=classes)
                for output, binary, classes in outputs
            ]
            answer = getattr(client, run)(model, tensors, outputs=asked, **options)
            if run == "async_infer":
                answer.get_result()

        facts = [
            {"name": n, "datatype": d, "shape": list(a.shape), "binary": b, "data": values_of(d, a)}
            for n, d, a, b in inputs
        ]
        asked = [{"name": n, "binary": b, "classes": c} for n, b, c in outputs] if outputs else None
        self.take(name, call, kind="infer", model=model, inputs=facts, outputs=asked, options=options)


def main(url: str, token: str) -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    gevent.socket.socket.sendall = record
    recorder = Recorder(url, token)
    admin = {"Authorization": f"Bearer {token}"}
    plain = [
        ("live", lambda c: c.is_server_live()),
        ("ready", lambda c: c.is_server_ready()),
        ("model-ready", lambda c: c.is_model_ready("fp32")),
        ("model-version-ready", lambda c: c.is_model_ready("fp32", "1")),
        ("server-metadata", lambda c: c.get_server_metadata()),
        ("model-metadata", lambda c: c.get_model_metadata("fp32")),
        ("model-version-metadata", lambda c: c.get_model_metadata("fp32", "1")),
        ("model-config", lambda c: c.get_model_config("fp32")),
        ("statistics", lambda c: c.get_inference_statistics()),
        ("model-statistics", lambda c: c.get_inference_statistics("fp32", "1")),
        ("repository-index", lambda c: c.get_model_repository_index()),
        ("unload", lambda c: c.unload_model("uint8", headers=dict(admin))),
        ("load", lambda c: c.load_model("uint8", headers=dict(admin))),
    ]
    for name, call in plain:
        recorder.take(name, call, kind="plain")
    for datatype in ("FP32", "INT64", "UINT8", "BOOL", "BYTES"):
        array, model = array_of(datatype), datatype.lower()
        for binary in (False, True):
            given = [("x", datatype, array, binary)]
            way = "binary" if binary else "json"
            recorder.infer(f"{model}-{way}", model, given)
            recorder.infer(f"{model}-{way}-to-json", model, given, [("y", False, 0)])
            recorder.infer(f"{model}-{way}-to-binary", model, given, [("y", True, 0)])
    for datatype in ("FP16", "BF16"):
        given = [("x", datatype, array_of(datatype), True)]
        recorder.infer(f"{datatype.lower()}-binary", datatype.lower(), given)
        recorder.infer(f"{datatype.lower()}-binary-to-binary", datatype.lower(), given, [("y", True, 0)])
    a = np.array([[1, 2, 3], [4, 5, 6]], np.float32)
    b = np.array([[0.5, -2, 10], [20, 30, -6]], np.float32)
    recorder.infer("sum-mixed", "sum", [("a", "FP32", a, False), ("b", "FP32", b, True)])
    recorder.infer("sum-mixed-turned", "sum", [("b", "FP32", b, True), ("a", "FP32", a, False)], [("y", False, 0)])
    x = [("x", "FP32", array_of("FP32"), True)]
    recorder.infer("classes", "fp32", x, [("y", True, 2)])
    recorder.infer("classes-to-json", "fp32", x, [("y", False, 2)])
    recorder.infer("id", "fp32", x, request_id="id \"1\" \u00e9")
    recorder.infer("version-priority-timeout", "fp32", x, model_version="1", priority=3, timeout=2_000_000)
    recorder.infer("parameters", "fp32", x, parameters={"text": "t", "number": 1, "truth": True})
    recorder.infer("sequence", "fp32", x, sequence_id=7, sequence_start=True, sequence_end=True)
    large = [("x", "FP32", (np.arange(1024, dtype=np.float32) % 7).reshape(16, 64), True)]
    for way in ("gzip", "deflate"):
        recorder.infer(f"{way}-request", "fp32", large, request_compression_algorithm=way)
        recorder.infer(f"{way}-response", "fp32", large, [("y", False, 0)], response_compression_algorithm=way)
        recorder.infer(f"{way}-both", "fp32", large, request_compression_algorithm=way, response_compression_algorithm=way)
    recorder.infer("async", "fp32", x, run="async_infer")
    recorder.infer("async-gzip", "fp32", large, run="async_infer", request_compression_algorithm="gzip")
    rows = ",\n".join(json.dumps(row) for row in recorder.index)
    (FOLDER / "index.json").write_text(f"[\n{rows}\n]\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
