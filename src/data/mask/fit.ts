/** Masks of a batch, at the size of a model's output. */

import { Tensor } from '../../tensor/tensor.ts'
import { formatShape, type Shape } from '../../tensor/shape.ts'
import { InputError } from '../../util/errors.ts'
import { nearest } from './follow.ts'

/**
 * Masks int64 [N,H,W] at the positions of an output: [h,w], beside which the output may have an axis of its classes.
 *
 * @param positions dims of the output without the batch and without the classes; a 1 beside two others is no position
 * @param decisions whether the output decides between the classes 0 and 1, so that every pixel needs one of them
 */
export function fitMasks(masks: Tensor, positions: Shape, decisions = false): Tensor {
  const [height, width, ...others] = positions.length === 3 ? withoutOne(positions) : positions
  const [rows = 0, ...own] = masks.dims
  if (height === undefined || width === undefined || others.length > 0)
    throw new InputError(
      `data: masks are ${formatShape(own)}, the output has positions ${formatShape(positions)}`,
      { cure: 'name the output of the classes with --output' },
    )
  const labels = masks.view() as BigInt64Array
  if (decisions) checkDecisions(labels)
  const [ownHeight, ownWidth] = own as [number, number]
  if (ownHeight === height && ownWidth === width) return masks
  const fitted = new BigInt64Array(rows * height * width)
  const columns = Array.from({ length: width }, (_, x) => nearest(x, width, ownWidth))
  let to = 0
  for (let row = 0; row < rows; row++) {
    for (let y = 0; y < height; y++) {
      const line = (row * ownHeight + nearest(y, height, ownHeight)) * ownWidth
      for (const column of columns) fitted[to++] = labels[line + column]!
    }
  }
  return Tensor.of('int64', [rows, height, width], fitted)
}

function withoutOne(dims: Shape): Shape {
  return dims[0] === 1 ? dims.slice(1) : dims.at(-1) === 1 ? dims.slice(0, -1) : dims
}

function checkDecisions(labels: BigInt64Array): void {
  const stray = labels.find(label => label !== 0n && label !== 1n)
  if (stray === undefined) return
  const none = stray < 0n ? ', which stands for pixels without a class' : ''
  throw new InputError(`data: masks for yes-no decisions hold 0 and 1, found ${stray}${none}`, {
    cure: 'a model of one output leaves no pixel out and knows no third class: use one with an output for each class',
  })
}
