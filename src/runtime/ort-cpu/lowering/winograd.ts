/**
 * The two gradients of 3x3 convolutions of stride 1 by Winograd's F(4x4, 3x3), in standard operators: the transforms of the
 * tiles are convolutions of stride 4 with constant kernels, the products 36 matrix products.
 *
 * Names: 36 = products of a tile; T = tiles of all images.
 */

import type { Builder } from '../../../ir/builder.ts'
import type { Value } from '../../../ir/value.ts'
import { sliceSpatial } from '../../../ops/spatial.ts'
import type { Window } from '../../../ops/window.ts'
import { permuteRows, sharedFloats } from './constants.ts'
import {
  FLIPPED_WEIGHT_TRANSFORM,
  INPUT_TRANSFORM,
  OUTPUT_TRANSFORM,
  PRODUCTS,
  SPAN,
  TAPS,
  TILE,
  WEIGHT_TRANSFORM,
} from './winograd-matrices.ts'

/** The window of a 3x3 convolution along both axes. */
type Window2 = readonly [rows: Window[number], columns: Window[number]]

/** Maps below this height are stacked: their few tiles alone make rows too short to copy and to multiply well. */
const STACKED_BELOW = 28

/** How the outputs of a convolution are cut into tiles. */
interface Tiling {
  /** Images stand one below the other with zeros between them, and are tiled as one image. */
  readonly stacked: boolean
  /** Tiles of one image, along rows and columns. */
  readonly rows: number
  readonly columns: number
}

function tilingOf([h, w]: Window2): Tiling {
  const columns = Math.ceil(w.output / TILE)
  if (h.output >= STACKED_BELOW) return { stacked: false, rows: Math.ceil(h.output / TILE), columns }
  // The zeros between two images are the padding of both.
  const period = Math.max(h.output, h.input + Math.max(h.begin, h.end))
  return { stacked: true, rows: Math.ceil(period / TILE), columns }
}

/** Whether the formulas below hold. */
export function isWinogradWindow(window: Window, group: number): boolean {
  return (
    group === 1 &&
    window.length === 2 &&
    window.every(
      ({ kernel, stride, dilation, begin, end, input, output }) =>
        kernel === TAPS &&
        stride === 1 &&
        dilation === 1 &&
        begin >= 0 &&
        begin < TAPS &&
        end >= 0 &&
        end < TAPS &&
        output === input + begin + end - TAPS + 1,
    )
  )
}

/** Multiplications by Winograd as a share of those of the direct convolution: 1/4, and more where tiles overhang. */
export function winogradShare(window: Window): number {
  const [h, w] = window as Window2
  const { rows, columns } = tilingOf([h, w])
  return (PRODUCTS * rows * columns) / (TAPS * TAPS * h.output * w.output)
}

/** The convolution that gives dx: of dy with the kernel turned by 180 degrees. */
export function transposedAxes(window: Window): Window {
  return window.map(axis => ({
    ...axis,
    input: axis.output,
    output: axis.input,
    begin: TAPS - 1 - axis.begin,
    end: TAPS - 1 - axis.end,
  }))
}

/** dx of Conv(x, w) whose window is `window`. */
export function winogradInputGrad(op: Builder, dy: Value, w: Value, window: Window): Value {
  const axes = transposedAxes(window) as Window2
  const tiling = tilingOf(axes)
  const weight = transformedWeight(op, w, FLIPPED_WEIGHT_TRANSFORM, 'flipped')
  const tiles = matrices(op, inputTiles(op, dy, axes, tiling), tiling, false)
  return outputOf(op, op.MatMul(op.Transpose(weight, [0, 2, 1]), tiles), dy.shape[0]!, axes, tiling)
}

/** dw of Conv(x, w): Gᵀ [ Σ over tiles of (A dy Aᵀ) ⊙ (Bᵀ x B) ] G. */
export function winogradWeightGrad(op: Builder, x: Value, dy: Value, window: Window): Value {
  const axes = window as Window2
  const tiling = tilingOf(axes)
  const [c, m] = [x.shape[1]!, dy.shape[1]!]
  const gradients = matrices(op, gradientTiles(op, dy, axes, tiling), tiling, false)
  const inputs = matrices(op, inputTiles(op, x, axes, tiling), tiling, true)
  const products = op.Reshape(op.MatMul(gradients, inputs), [PRODUCTS, m * c])
  const back = sharedFloats(op, 'weight', [PRODUCTS, TAPS * TAPS], WEIGHT_TRANSFORM)
  return op.Reshape(op.MatMul(op.Transpose(products, [1, 0]), back), [m, c, TAPS, TAPS])
}

/** G w Gᵀ: [36, M, C]. */
function transformedWeight(op: Builder, w: Value, transform: readonly number[], key: string): Value {
  const [m, c] = w.shape as [number, number]
  const matrix = sharedFloats(op, key, [PRODUCTS, TAPS * TAPS], transform)
  const kernels = op.Transpose(op.Reshape(w, [m * c, TAPS * TAPS]), [1, 0])
  return op.Reshape(op.MatMul(matrix, kernels), [PRODUCTS, m, c])
}

/** Bᵀ x B of every tile. Tile i begins at input 4i − begin. */
function inputTiles(op: Builder, x: Value, [h, w]: Window2, tiling: Tiling): Value {
  const kernel = sharedFloats(op, 'input', [PRODUCTS, 1, SPAN, SPAN], INPUT_TRANSFORM)
  const after = (tiles: number, axis: Window[number]) => TILE * tiles + SPAN - TILE - axis.begin - axis.input
  const below = tiling.stacked ? Math.max(0, SPAN - TILE - h.begin) : after(tiling.rows, h)
  return tilesOf(op, x, kernel, [h.begin, w.begin, below, after(tiling.columns, w)], tiling)
}

/** A dy Aᵀ of every tile of 4x4 outputs. */
function gradientTiles(op: Builder, dy: Value, [h, w]: Window2, tiling: Tiling): Value {
  const kernel = sharedFloats(op, 'output', [PRODUCTS, 1, TILE, TILE], OUTPUT_TRANSFORM)
  const below = tiling.stacked ? 0 : TILE * tiling.rows - h.output
  return tilesOf(op, dy, kernel, [0, 0, below, TILE * tiling.columns - w.output], tiling)
}

/** [36, C, T], or [C, 36, T] where images are stacked. */
function tilesOf(op: Builder, x: Value, kernel: Value, pads: readonly number[], tiling: Tiling): Value {
  const [n, c, height, width] = x.shape as [number, number, number, number]
  const { stacked, rows, columns } = tiling
  const attributes = { kernel_shape: kernel.shape.slice(2), strides: [TILE, TILE], pads }
  if (!stacked) {
    const images = op.Reshape(x, [n * c, 1, height, width])
    const tiles = op.one('Conv', [images, kernel], { shape: [n * c, PRODUCTS, rows, columns] }, attributes)
    const regrouped = permuteRows(op, tiles, [n, c, PRODUCTS], [2, 1, 0], rows * columns)
    return op.Reshape(regrouped, [PRODUCTS, c, n * rows * columns])
  }
  const turned = op.Transpose(op.Reshape(x, [n, c, height * width]), [1, 0, 2])
  const apart = op.Pad(op.Reshape(turned, [c, n, height, width]), [0, 0, 0, 0, 0, 0, TILE * rows - height, 0])
  const stack = op.Reshape(apart, [c, 1, n * TILE * rows, width])
  const tiles = op.one('Conv', [stack, kernel], { shape: [c, PRODUCTS, n * rows, columns] }, attributes)
  return op.Reshape(tiles, [c, PRODUCTS, n * rows * columns])
}

/** Tiles as matrices [36, C, T] or, transposed, [36, T, C]: a Transpose that ONNX Runtime fuses into the MatMul. */
function matrices(op: Builder, tiles: Value, { stacked }: Tiling, transposed: boolean): Value {
  if (stacked) return op.Transpose(tiles, transposed ? [1, 2, 0] : [1, 0, 2])
  return transposed ? op.Transpose(tiles, [0, 2, 1]) : tiles
}

/** Aᵀ p A of every tile, put together: [36, M, T] -> [N, M, output...]. */
function outputOf(op: Builder, products: Value, n: number, [h, w]: Window2, tiling: Tiling): Value {
  const { stacked, rows, columns } = tiling
  const m = products.shape[1]!
  const kernel = sharedFloats(op, 'output', [PRODUCTS, 1, TILE, TILE], OUTPUT_TRANSFORM)
  const attributes = { kernel_shape: [TILE, TILE], strides: [TILE, TILE] }
  const cut = [h, w].map(axis => ({ start: 0, stop: axis.output }))
  const [height, width] = [TILE * rows, TILE * columns]
  if (!stacked) {
    const images = permuteRows(op, products, [PRODUCTS, m, n], [2, 1, 0], rows * columns)
    const tiles = op.Reshape(images, [n * m, PRODUCTS, rows, columns])
    const y = op.one('ConvTranspose', [tiles, kernel], { shape: [n * m, 1, height, width] }, attributes)
    return sliceSpatial(op, op.Reshape(y, [n, m, height, width]), cut)
  }
  const channels = permuteRows(op, products, [PRODUCTS, m], [1, 0], n * rows * columns)
  const tiles = op.Reshape(channels, [m, PRODUCTS, n * rows, columns])
  const y = op.one('ConvTranspose', [tiles, kernel], { shape: [m, 1, n * height, width] }, attributes)
  const images = sliceSpatial(op, op.Reshape(y, [m, n, height, width]), cut)
  const turned = permuteRows(op, images, [m, n], [1, 0], h.output * w.output)
  return op.Reshape(turned, [n, m, h.output, w.output])
}
