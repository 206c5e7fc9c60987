/** From batches of a data set to the feeds of a model: names, batch size, shape. */

import type { Port } from '../runtime/engine.ts'
import { formatShape } from '../tensor/shape.ts'
import { fromFloat32Tensor } from '../tensor/convert.ts'
import { DTYPES } from '../tensor/dtype.ts'
import type { Tensor } from '../tensor/tensor.ts'
import { InputError } from '../util/errors.ts'

/** The batch size that a model insists on; null when it takes any. */
export function fixedBatchSize(inputs: readonly Port[]): number | null {
  const dims = inputs.map(input => input.shape[0]).filter(dim => typeof dim === 'number' && dim > 0)
  return (dims[0] as number | undefined) ?? null
}

/** Data fields are named by model input, or by a decimal number: the model's input at that position. */
export function bindInputs(
  batch: ReadonlyMap<string, Tensor>,
  inputs: readonly FeedPort[],
): Map<string, Tensor> {
  const feeds = new Map<string, Tensor>()
  for (const [field, tensor] of batch) {
    const port =
      inputs.find(input => input.name === field) ?? (/^\d+$/.test(field) ? inputs[Number(field)] : undefined)
    if (!port) {
      throw new InputError(
        `data: no model input is called "${field}", found ${inputs.map(input => input.name).join(', ')}`,
      )
    }
    checkShape(port, tensor)
    feeds.set(port.name, castTo(port, tensor))
  }
  const missing = inputs.filter(input => !feeds.has(input.name))
  if (missing.length > 0) {
    throw new InputError(
      `data: nothing feeds the model's input ${missing.map(input => `"${input.name}"`).join(', ')}`,
    )
  }
  return feeds
}

/** What of a port decides what is fed; without an element type, what the data have is. */
type FeedPort = Pick<Port, 'name' | 'shape'> & Partial<Pick<Port, 'dtype'>>

/** Data are prepared in float32; a model of another float type gets them rounded to its own. */
function castTo({ name, dtype }: FeedPort, tensor: Tensor): Tensor {
  if (!dtype || tensor.dtype !== 'float32' || !DTYPES[dtype].float) return tensor
  return fromFloat32Tensor(tensor, dtype, name)
}

function checkShape(port: FeedPort, tensor: Tensor): void {
  const wanted = port.shape.slice(1)
  const found = tensor.dims.slice(1)
  const fits =
    port.shape.length === tensor.dims.length &&
    wanted.every((dim, i) => typeof dim !== 'number' || dim < 0 || dim === found[i])
  if (fits || port.shape.length === 0) return
  throw new InputError(
    `data: input "${port.name}" takes ${formatShape(port.shape)}, a batch of the data has ${formatShape(tensor.dims)}`,
    { cure: 'set the size of the images with --size, or give data of the same dims as the model' },
  )
}
