/**
 * The tfjs engine: programs and models as tfjs kernel calls. tfjs runs in the thread of the caller (a browser's worker) or
 * in one of its own (Node, where its CPU kernels block the event loop).
 */

import { isComposite } from '../../autodiff/composites.ts'
import { lowerComposites } from '../../autodiff/lowering/index.ts'
import { ints } from '../../ir/attribute.ts'
import { FUSIONS, RECURRENT_STEPS, replaceNodes } from '../../passes/index.ts'
import type { Engine, Runner, Traffic, Trainer } from '../engine.ts'
import { transferables } from '../ort/messages.ts'
import { serializeLowered, type Lowered, type Program } from '../program.ts'
import { inOrder } from '../../util/channel.ts'
import { TFJS_CAPABILITIES } from './capabilities.ts'
import { tfjsHandlers, unwire, wire } from './handlers.ts'
import type { Loaded } from './loaded.ts'
import { RESULT_SHAPE, tfjsLowerings } from './lowering.ts'
import type { Requests, TfjsChannel } from './messages.ts'
import { backendOf, type Backend, type TfModule } from './tf.ts'

/** An engine on a tfjs module that runs in this thread, its backend chosen. */
export async function tfjsEngineOf(tf: TfModule, observer?: Engine): Promise<Engine> {
  const backend = await backendOf(tf)
  const loaded: Loaded = {
    package: '@tensorflow/tfjs-core',
    backend,
    gpu: backend.name.startsWith('web'),
    notes: [],
  }
  const channel = inOrder<Requests>(tfjsHandlers(() => Promise.resolve({ tf, backend, loaded })))
  return tfjsEngine(() => channel, loaded, observer)
}

/** `channel`: to the thread that tfjs runs in, as it is when something is opened. */
export function tfjsEngine(channel: () => TfjsChannel, loaded: Loaded, observer?: Engine): Engine {
  const lower = (program: Program) => lowerForTfjs(program, loaded.backend)
  return {
    name: 'tfjs',
    description: `${loaded.package} ${loaded.backend.version}, ${loaded.backend.name} backend`,
    capabilities: TFJS_CAPABILITIES,
    ...(observer ? { observer } : {}),
    lower,
    openRunner: model => openRunner(channel(), model),
    openTrainer: async program =>
      openTrainer(channel(), program, await serializeLowered(lower(program)), loaded.notes),
  }
}

/** The program with those composites left in it that the backend's kernels compute. */
export function lowerForTfjs(program: Program, backend: Backend): Lowered {
  const graph = lowerComposites(program.graph, tfjsLowerings(backend))
  replaceNodes(graph, { ...FUSIONS, ...RECURRENT_STEPS })
  // A serialized graph does not keep the shapes of what its nodes give; gradients by an input need them.
  for (const node of graph.nodes) {
    if (isComposite(node)) node.attributes.set(RESULT_SHAPE, ints(node.output(0).shape))
  }
  return { graph, opset: program.opset }
}

async function openRunner(channel: TfjsChannel, model: Uint8Array | string): Promise<Runner> {
  const { id, inputs, outputs } = await channel.request('open', { model })
  return {
    inputs,
    outputs,
    async run(feeds, wanted) {
      return unwire(await channel.request('run', { id, feeds: wire(feeds), outputs: wanted ?? null }))
    },
    async close() {
      await channel.request('close', { id })
    },
  }
}

async function openTrainer(
  channel: TfjsChannel,
  { state, metrics }: Program,
  model: Uint8Array,
  notes: readonly string[],
): Promise<Trainer> {
  const id = await channel.request('train', { model, state, metrics })
  let traffic: Traffic = { steps: 0, runs: 0, batchBytes: 0, stateBytes: 0 }
  return {
    chunk: 1,
    notes,
    get traffic() {
      return traffic
    },
    async steps(batches) {
      const wired = batches.map(wire)
      const results = await channel.request('steps', { id, batches: wired }, transferables(wired.flat()))
      traffic = results.traffic
      return results.metrics.map(values => new Map(values))
    },
    async readState() {
      return unwire(await channel.request('readState', { id }))
    },
    async writeState(values) {
      await channel.request('writeState', { id, state: wire(values) })
    },
    async close() {
      await channel.request('close', { id })
    },
  }
}
