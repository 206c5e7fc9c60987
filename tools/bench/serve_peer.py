"""The usual Python server of an ONNX model, as a peer of `swa-onnx serve`: FastAPI, uvicorn, onnxruntime.

    python tools/bench/serve_peer.py model.onnx 8200

It takes the same requests: a JSON header of the Open Inference Protocol and one binary tensor behind it. The model runs in
FastAPI's thread pool; threads of onnxruntime are its default. Needs fastapi==0.165.0 uvicorn==0.54.0 onnxruntime==1.32.0
numpy (or later), with httptools and uvloop where they are installed.
"""

import json
import sys

import numpy as np
import onnxruntime
import uvicorn
from fastapi import FastAPI, Request, Response
from fastapi.concurrency import run_in_threadpool

path, port = sys.argv[1], int(sys.argv[2])
session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
app = FastAPI()


@app.post("/v2/models/{name}/infer")
async def infer(name: str, request: Request) -> Response:
    body = await request.body()
    length = int(request.headers["inference-header-content-length"])
    header = json.loads(body[:length])
    tensor = header["inputs"][0]
    x = np.frombuffer(body, dtype=np.float32, offset=length).reshape(tensor["shape"])
    (y,) = await run_in_threadpool(session.run, None, {tensor["name"]: x})
    data = y.tobytes()
    output = {
        "name": session.get_outputs()[0].name,
        "datatype": "FP32",
        "shape": list(y.shape),
        "parameters": {"binary_data_size": len(data)},
    }
    head = json.dumps({"model_name": name, "model_version": "1", "outputs": [output]}).encode()
    return Response(
        head + data,
        media_type="application/octet-stream",
        headers={"Inference-Header-Content-Length": str(len(head))},
    )


uvicorn.run(app, port=port, log_level="error")
