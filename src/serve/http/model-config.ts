/** A model's configuration in the form of Triton's ModelConfig (JSON names), as `GET .../config` gives it. */

import { tritonType } from '../protocol/datatypes.ts'
import type { PortSpec } from '../protocol/signature.ts'
import type { ServedVersion } from '../repository/served-version.ts'

export const PLATFORM = 'onnx_onnxv1'

export function modelConfig(version: ServedVersion): object {
  const { settings } = version.facts
  const { batched, signature } = version
  return {
    name: version.name,
    platform: 'onnxruntime_onnx',
    backend: 'onnxruntime',
    max_batch_size: batched ? settings.maxBatch : 0,
    input: signature.inputs.map(port => configOf(port, batched)),
    output: signature.outputs.map(port => configOf(port, batched)),
    instance_group: [{ kind: 'KIND_AUTO', count: settings.instances + Number(settings.lone) }],
    ...(batched
      ? { dynamic_batching: { max_queue_delay_microseconds: Math.round(settings.maxDelay * 1000) } }
      : {}),
  }
}

/** With batching the dimension of samples is not among `dims`. */
function configOf({ name, datatype, shape }: PortSpec, batched: boolean): object {
  const dims = (shape ?? [null]).map(dim => dim ?? -1)
  return { name, data_type: tritonType(datatype), dims: batched ? dims.slice(1) : dims }
}
