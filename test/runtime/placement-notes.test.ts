/** What a person is told of nodes that ran elsewhere than on the engine's device. */

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { placementNotes } from '../../src/runtime/ort/placement-notes.ts'
import type { PlacedNode } from '../../src/runtime/ort/placement.ts'

const PROVIDER = 'WebGpuExecutionProvider'
const CPU = 'CPUExecutionProvider'

const placed = (opType: string, provider: string, ...names: string[]): PlacedNode[] =>
  names.map(name => ({ name, opType, provider }))

test('nothing to say where all is on the device, or belongs on the CPU', () => {
  const nodes = [
    ...placed('Conv', PROVIDER, 'a'),
    ...placed('Shape', CPU, 'b'),
    ...placed('MemcpyToHost', CPU, 'c'),
    ...placed('Cast', CPU, 'labels'),
  ]
  assert.equal(placementNotes(nodes, PROVIDER, new Set(['labels'])), [])
})

test('strays are grouped by operator', () => {
  const nodes = [
    ...placed('Mod', CPU, 'a', 'b'),
    ...placed('Cast', CPU, 'e'),
    ...placed('Cast', PROVIDER, 'f'),
  ]
  assert.equal(placementNotes(nodes, PROVIDER, new Set()), [
    'Mod ran on CPUExecutionProvider, not on WebGpuExecutionProvider, with copies to and fro at each step: "a", "b"',
    'Cast ran on CPUExecutionProvider, not on WebGpuExecutionProvider, with copies to and fro at each step: "e"',
  ])
})

test.run()
