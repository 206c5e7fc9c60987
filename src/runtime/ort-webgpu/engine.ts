/** ONNX Runtime's WebGPU execution provider in Node: the state stays on the device from step to step. */

import type { Graph } from '../../ir/graph.ts'
import type { Engine, Precision, SessionOptions } from '../engine.ts'
import { cpuEngine } from '../ort-cpu/engine.ts'
import { Lane } from '../ort/lane.ts'
import type { ProviderSpec } from '../ort/messages.ts'
import { PlacementCheck } from '../ort/placement-check.ts'
import { openRunner, openTrainer } from '../ort/session.ts'
import { serializeLowered, type Program } from '../program.ts'
import { WEBGPU_CAPABILITIES } from './capabilities.ts'
import { lowerForWebgpu } from './lowering.ts'
import { refusedNodes } from './refused.ts'

/** As ONNX Runtime's options name the provider, and as its profiles do. */
const NAME = 'webgpu'
const PROVIDER = 'WebGpuExecutionProvider'

/**
 * All WebGPU sessions of a process share one device, and ONNX Runtime does not lock it: runs of two threads at once end
 * the process (double free, in version 1.30).
 */
const DEVICE = new Lane()

/** float16 needs an adapter that has shader-f16. */
export type WebgpuPrecision = Exclude<Precision, 'tf32'>

export function webgpuEngine(precision: WebgpuPrecision = 'float32'): Engine {
  return {
    name: 'webgpu',
    description: 'ONNX Runtime, WebGPU execution provider',
    capabilities: WEBGPU_CAPABILITIES,
    precision,
    observer: cpuEngine(),
    lower: lowerForWebgpu,
    openRunner: (model, options = {}) => openRunner(model, [NAME], options, DEVICE),
    async openTrainer(program, options: SessionOptions = {}) {
      const lowered = lowerForWebgpu(program)
      const stays = leaveOutCarried(lowered.graph, program)
      return openTrainer(program, await serializeLowered(lowered), {
        providers: providersFor(lowered.graph),
        options,
        stepper: 'resident',
        lane: DEVICE,
        deviceOutputs: stays,
        placement: new PlacementCheck(options, {
          provider: PROVIDER,
          onHost: inputConversions(lowered.graph, program),
        }),
      })
    },
  }
}

function providersFor(graph: Graph): ProviderSpec[] {
  const forceCpuNodeNames = refusedNodes(graph)
  return [forceCpuNodeNames.length === 0 ? NAME : { name: NAME, forceCpuNodeNames }]
}

/**
 * Takes outputs that are themselves inputs of the state from the graph: the stepper keeps their buffers. Gives the names
 * of the state's other outputs.
 */
function leaveOutCarried(graph: Graph, { state }: Program): string[] {
  const parts = state.flatMap(vector => vector.parts)
  const carried = new Set(parts.flatMap(({ input, output }) => (input === output ? [output] : [])))
  graph.outputs = graph.outputs.filter(({ name }) => !carried.has(name))
  return parts.map(({ output }) => output).filter(name => !carried.has(name))
}

/** Nodes that read nothing but int64 step inputs (labels, to make them int32): those are in the process anyway. */
function inputConversions(graph: Graph, { inputs }: Program): Set<string> {
  const integers = new Set(inputs.flatMap(({ name, dtype }) => (dtype === 'int64' ? [name] : [])))
  const reads = graph.nodes.filter(node => node.inputs.every(value => value && integers.has(value.name)))
  return new Set(reads.map(({ name }) => name))
}
