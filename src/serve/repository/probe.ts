/**
 * Tries a model before it takes traffic: does it run, are its outputs numbers, and do samples go through it side by side
 * as they do one by one? Only a model that shows the last is ever given batches: a graph does not say so.
 */

import { Random } from '../../util/random.ts'
import { messageOf } from '../../util/errors.ts'
import type { Feeds, Runner } from '../../runtime/engine.ts'
import { DTYPES } from '../../tensor/dtype.ts'
import { sizeOf } from '../../tensor/shape.ts'
import { Tensor } from '../../tensor/tensor.ts'
import { joinInputs, splitOutputs } from '../execution/batch.ts'
import { buffers } from '../execution/buffers.ts'
import type { Results } from '../execution/work.ts'
import type { PortSpec, Signature } from '../protocol/signature.ts'

export interface ProbeResult {
  /** Inputs of one sample that the model ran on; null where none was found. */
  readonly feeds: Feeds | null
  /** Whether samples can share a run. */
  readonly batched: boolean
  /** Why not, or what was not tried. */
  readonly note: string | null
  /** Whether all its outputs were finite numbers. */
  readonly finite: boolean
}

/** Sizes tried for dimensions that a model leaves open, the last ones of images among them. */
const SIZES: readonly (readonly number[])[] = [
  [224],
  [64],
  [32],
  [1],
  [16],
  [128],
  [256],
  [512],
  [48, 192],
  [96, 96, 96],
]

/** Of values that batching may change by its own rounding. */
const TOLERANCE = 1e-3

/** `known`: inputs that an earlier version of the model ran on, tried first. */
export async function probeModel(
  runner: Runner,
  signature: Signature,
  known: Feeds | null,
): Promise<ProbeResult> {
  const found = await findFeeds(runner, signature, known)
  if ('error' in found) {
    return { feeds: null, batched: false, finite: true, note: `it was not tried: ${found.error}` }
  }
  const { feeds, results } = found
  const finite = [...results.values()].every(isFinite)
  const why = await whyNotBatched(runner, signature, feeds, results)
  return { feeds, batched: why === null, finite, note: why && `requests do not share runs: ${why}` }
}

async function findFeeds(
  runner: Runner,
  signature: Signature,
  known: Feeds | null,
): Promise<{ feeds: Feeds; results: Results } | { error: string }> {
  let error = 'it has no sizes to try'
  const candidates = [...(known ? [known] : []), ...SIZES.map(sizes => sampleFeeds(signature, sizes, 1))]
  const tried = new Set<string>()
  for (const feeds of candidates) {
    const shapes = [...feeds.values()].map(({ dims }) => dims.join('x')).join()
    if (tried.has(shapes)) continue
    tried.add(shapes)
    if ([...feeds.values()].some(({ size }) => size > MOST_ELEMENTS)) continue
    try {
      return { feeds, results: await run(runner, signature, feeds) }
    } catch (caught) {
      if (runner.alive === false) throw caught
      error = messageOf(caught)
    }
  }
  return { error }
}

const MOST_ELEMENTS = 1 << 24

function run(runner: Runner, { outputs }: Signature, feeds: Feeds): Promise<Results> {
  return runner.run(
    joinInputs([feeds]),
    outputs.map(({ name }) => name),
    buffers,
  )
}

/** Inputs with random elements: one sample, and sizes that are open from the end on in turn. */
function sampleFeeds({ inputs }: Signature, sizes: readonly number[], seed: number): Map<string, Tensor> {
  const random = Random.of(seed)
  return new Map(inputs.map(port => [port.name, sampleTensor(port, sizes, random)]))
}

function sampleTensor({ dtype, shape }: PortSpec, sizes: readonly number[], random: Random): Tensor {
  let open = 0
  const dims = (shape ?? [1]).map((dim, axis) => dim ?? (axis === 0 ? 1 : sizes[open++ % sizes.length]!))
  const size = sizeOf(dims)
  if (dtype === 'string') {
    return new Tensor(
      dtype,
      dims,
      Array.from({ length: size }, () => new TextEncoder().encode('a')),
    )
  }
  if (size > MOST_ELEMENTS) return new Tensor('uint8', [size], new Uint8Array(size))
  // Ones and zeros are in the range of any index, mask and vocabulary.
  const integer = !DTYPES[dtype].float
  const values = Array.from({ length: size }, () => (integer ? Math.round(random.float()) : random.float()))
  return Tensor.of(dtype, dims, values)
}

async function whyNotBatched(
  runner: Runner,
  signature: Signature,
  feeds: Feeds,
  first: Results,
): Promise<string | null> {
  const fixed = [...signature.inputs, ...signature.outputs].find(({ shape }) => shape?.[0] !== null)
  if (fixed !== undefined) return `the first dimension of ${fixed.name} is not open`
  if (signature.inputs.length === 0) return 'it has no inputs'
  if ([...feeds.values()].some(({ dims }) => dims[0] !== 1)) return 'no single sample of it is known'
  const other = new Map(
    [...feeds].map(([name, tensor], i) => [name, varied(tensor, Random.of(7, i))] as const),
  )
  try {
    const second = await run(runner, signature, other)
    const both = await runner.run(
      joinInputs([feeds, other, feeds]),
      signature.outputs.map(({ name }) => name),
      buffers,
    )
    const shares = splitOutputs(both, [1, 1, 1])
    if (shares === null) return 'an output has not as many samples as the inputs'
    const parted = [first, second, first].findIndex((alone, i) => !agree(alone, shares[i]!))
    return parted < 0 ? null : 'samples change each other'
  } catch (error) {
    if (runner.alive === false) throw error
    return messageOf(error)
  }
}

/** Another sample of the same kind. */
function varied(tensor: Tensor, random: Random): Tensor {
  const { dtype, dims } = tensor
  if (dtype === 'string') return tensor
  if (DTYPES[dtype].float) {
    return Tensor.of(
      dtype,
      dims,
      tensor.toNumbers().map(value => value * 0.5 + random.float()),
    )
  }
  return Tensor.of(dtype, dims, tensor.view().slice().reverse())
}

function agree(alone: Results, together: Results): boolean {
  for (const [name, a] of alone) {
    const b = together.get(name)!
    if (a.dims.length !== b.dims.length || a.dims.some((dim, i) => dim !== b.dims[i])) return false
    if (a.dtype === 'string') {
      const texts = (tensor: Tensor) =>
        (tensor.data as readonly Uint8Array[]).map(bytes => Buffer.from(bytes).toString('hex'))
      if (texts(a).join() !== texts(b).join()) return false
      continue
    }
    const [x, y] = [numbersOf(a), numbersOf(b)]
    const scale = x.reduce((most, value) => Math.max(most, Math.abs(value)), 0)
    const tolerance = DTYPES[a.dtype].float ? TOLERANCE * scale + 1e-6 : 0
    if (x.some((value, i) => Math.abs(value - y[i]!) > tolerance)) return false
  }
  return true
}

function isFinite(tensor: Tensor): boolean {
  return !DTYPES[tensor.dtype].float || numbersOf(tensor).every(Number.isFinite)
}

/** 64-bit integers are rounded. */
function numbersOf(tensor: Tensor): number[] {
  return DTYPES[tensor.dtype].bits === 64 && !DTYPES[tensor.dtype].float
    ? Array.from(tensor.view() as BigInt64Array, Number)
    : tensor.toNumbers()
}
