/** Recomputation: the same numbers to the last bit, nothing kept between cuts, and cuts where the peak is lowest. */

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import type { Node } from '../../src/ir/node.ts'
import type { Engine } from '../../src/runtime/engine.ts'
import { cpuEngine } from '../../src/runtime/ort-cpu/engine.ts'
import { chooseSegments, type Span } from '../../src/train/segments.ts'
import { cpuLoopEngine } from '../support/cpu-loop.ts'
import { stepsOf } from '../support/parity.ts'
import { openTraining } from '../support/training.ts'

/** The fixture models are small: everything counts. */
const ALL = { recompute: { smallest: 1 } } as const
const STEPS = 3

async function train(model: string, engine: Engine, options: Parameters<typeof openTraining>[4]) {
  const run = await openTraining(model, 'train', undefined, engine, options)
  try {
    const losses = await stepsOf(run, STEPS)
    const state = await run.trainer.readState()
    return { losses, state: new Map([...state].map(([name, tensor]) => [name, tensor.toNumbers()])), run }
  } finally {
    await run.trainer.close()
  }
}

const ENGINES: readonly (readonly [string, () => Engine])[] = [
  ['cpu', cpuEngine],
  ['the program for CUDA', cpuLoopEngine],
]

for (const [name, open] of ENGINES) {
  for (const model of ['bn_cnn-ts', 'resnet18_narrow-ts', 'mobilenetv2_narrow-ts']) {
    test(`${name}, ${model}: losses, weights, slots and running statistics are the same to the last bit`, async () => {
      const kept = await train(model, open(), {})
      const again = await train(model, open(), ALL)
      const copies = again.run.training.program.graph.nodes.filter(isCopy)
      assert.ok(copies.some(({ opType }) => opType === 'Conv'))
      assert.equal(again.losses, kept.losses)
      assert.equal(again.state, kept.state)
    })
  }
}

test('what is computed again reads what is kept only behind an After', async () => {
  const run = await openTraining('resnet18_narrow-ts', 'train', undefined, cpuEngine(), ALL)
  await run.trainer.close()
  const { nodes } = run.training.program.graph
  const copies = new Set(nodes.filter(isCopy))
  const late = new Set<Node>()
  for (const node of nodes) {
    if (!copies.has(node)) continue
    const waits =
      node.opType === 'After' || node.inputs.some(input => input?.producer && late.has(input.producer))
    assert.ok(waits, `${node.label} does not wait`)
    late.add(node)
  }
  const normalized = [...copies].filter(({ opType }) => opType === 'BatchNormTrain')
  assert.ok(normalized.length > 0)
  for (const { inputs, outputs } of normalized) {
    assert.is(inputs.length, 5, 'statistics are those of the first time')
    assert.is(outputs.filter(output => output !== null).length, 1)
  }
})

/** A chain of layers, each of which gives `sizes[i]` bytes that the next layer and the backward pass read. */
function chain(sizes: readonly number[]): Span[] {
  return sizes.map((bytes, i) => ({
    bytes,
    born: i,
    lastRead: Math.min(i + 1, sizes.length - 1),
    saved: true,
  }))
}

/** Bytes at the worst moment of the backward pass of a chain. */
function peakOf(sizes: readonly number[], ends: readonly number[]): number {
  let kept = 0
  let begin = -1
  return Math.max(
    ...ends.map(end => {
      const last = end === sizes.length - 1
      const inside = sizes.slice(begin + 1, last ? end + 1 : end).reduce((sum, size) => sum + size, 0)
      const peak = kept + inside + (last ? 0 : sizes[end]!)
      kept += sizes[end]!
      begin = end
      return peak
    }),
  )
}

/** The lowest peak of all ways to cut where no more crosses than beside it. */
function lowestPeak(sizes: readonly number[]): number {
  let lowest = Infinity
  for (let cuts = 0; cuts < 1 << (sizes.length - 2); cuts++) {
    const ends = sizes.flatMap((size, i) => {
      const inner = i > 0 && i < sizes.length - 1 && size <= sizes[i - 1]! && size <= sizes[i + 1]!
      return inner && (cuts >> (i - 1)) & 1 ? [i] : []
    })
    lowest = Math.min(lowest, peakOf(sizes, [...ends, sizes.length - 1]))
  }
  return lowest
}

test('equal layers are cut to about 2·√n of them, as in the paper', () => {
  const sizes = new Array<number>(100).fill(1)
  const segments = chooseSegments(chain(sizes), sizes.length)
  const peak = peakOf(
    sizes,
    segments.map(({ end }) => end),
  )
  assert.ok(peak <= 2 * Math.sqrt(100), `peak ${peak}`)
})

test('no other way to cut has a lower peak', () => {
  const chains = [
    [8, 8, 8, 8, 4, 4, 4, 4, 2, 2, 2, 2],
    [1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1],
    [9, 3, 3, 9, 3, 3, 9, 3, 3, 9, 3, 1],
  ]
  for (const sizes of chains) {
    const segments = chooseSegments(chain(sizes), sizes.length)
    const ends = segments.map(({ end }) => end)
    const [found, lowest] = [peakOf(sizes, ends), lowestPeak(sizes)]
    assert.ok(found <= lowest * 1.001, `${sizes.join()}: ${ends.join()} has ${found}, the best ${lowest}`)
  }
})

test('segments follow each other, and the last one is kept', () => {
  const sizes = [5, 3, 8, 1, 9, 2, 6]
  const segments = chooseSegments(chain(sizes), sizes.length)
  assert.is(segments[0]!.begin, -1)
  assert.is(segments.at(-1)!.end, sizes.length - 1)
  assert.is(segments.at(-1)!.kept, true)
  segments.slice(1).forEach(({ begin }, i) => assert.is(begin, segments[i]!.end))
})

function isCopy({ name }: Node): boolean {
  return name.startsWith('recompute/')
}

test.run()
