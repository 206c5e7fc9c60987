"""Inputs, and how they are asked for, that record_client.py and check_client.py share."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import tritonclient.http as triton
from tritonclient.utils import triton_to_np_dtype

# Values at the edges of each datatype, all of them exact in it.
VALUES = {
    "BOOL": [True, False, True],
    "UINT8": [0, 1, 255],
    "INT64": [-(2**63), 2**53 + 1, 2**63 - 1],
    "FP16": [1.5, -65504.0, 6.103515625e-05],
    "BF16": [1.5, -2.0, 3.3895313892515355e38],
    "FP32": [0.1, -3.4028234663852886e38, 1e-45],
    "BYTES": ["", "a,\"b\"\n", "\u00e9\U0001f600"],
}

NUMPY = {"BF16": ml_dtypes.bfloat16, "BYTES": np.object_}


def numpy_dtype(datatype: str):
    return NUMPY.get(datatype) or triton_to_np_dtype(datatype)


def array_of(datatype: str) -> np.ndarray:
    """One row, and another that is the first one turned round."""
    values = [text.encode() for text in VALUES[datatype]] if datatype == "BYTES" else VALUES[datatype]
    row = np.array(values, dtype=numpy_dtype(datatype))
    return np.stack([row, row[::-1]])


def input_of(name: str, datatype: str, array: np.ndarray, binary: bool) -> triton.InferInput:
    tensor = triton.InferInput(name, list(array.shape), datatype)
    tensor.set_data_from_numpy(array, binary_data=binary)
    return tensor


def same(a: np.ndarray, b: np.ndarray) -> bool:
    """Bit by bit; bytes and text of BYTES alike."""
    if a.shape != b.shape:
        return False
    if a.dtype == np.object_ or b.dtype == np.object_:
        text = lambda x: x if isinstance(x, bytes) else str(x).encode()  # noqa: E731
        return [text(x) for x in a.flat] == [text(x) for x in b.flat]
    return a.dtype == b.dtype and a.tobytes() == b.tobytes()
