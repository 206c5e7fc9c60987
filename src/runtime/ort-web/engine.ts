/** onnxruntime-web as engines: WebAssembly on all threads that the page may have, and WebGPU. */

import { ONNX_DOMAIN } from '../../ir/node.ts'
import { EXPANSIONS } from '../../ops/expansions/index.ts'
import { replaceNodes, type NodeForm } from '../../passes/index.ts'
import { EnvironmentError } from '../../util/errors.ts'
import type { Engine, Runner, SessionOptions } from '../engine.ts'
import { CPU_CAPABILITIES } from '../ort-cpu/capabilities.ts'
import { lowerForCpu } from '../ort-cpu/engine.ts'
import { WEBGPU_CAPABILITIES } from '../ort-webgpu/capabilities.ts'
import { poolingForms } from '../ort-webgpu/forms/pooling.ts'
import { lowerForWebgpu } from '../ort-webgpu/lowering.ts'
import { serializeLowered, type Lowered, type Program } from '../program.ts'
import { loadOrtWeb, type LoadedOrt, type WebOptions } from './load.ts'
import { describeAdapter, findAdapter } from './platform.ts'
import { openWebRunner, type DataFile } from './session.ts'
import { openWebTrainer } from './trainer.ts'

/** The CPU engine's choice (its sources say why): the kernels are the same. */
const TRAINER_OPTIONS: SessionOptions = { optimization: 'extended', memoryPattern: false }

/** The engine `wasm`: ONNX Runtime's CPU kernels, compiled to WebAssembly. */
export async function wasmEngine(options: WebOptions = {}): Promise<Engine> {
  return cpuKernels(await loadOrtWeb('wasm', options))
}

function cpuKernels(loaded: LoadedOrt): Engine {
  const { ort, threads } = loaded
  const setup = { provider: 'wasm' }
  return {
    name: 'wasm',
    description: `ONNX Runtime Web ${ort.env.versions.common}, WebAssembly, ${threads === 1 ? 'one thread' : `${threads} threads`}`,
    capabilities: CPU_CAPABILITIES,
    lower: lowerForWasm,
    openRunner: (model, options) => openWebRunner(loaded, model, setup, options),
    async openTrainer(program, options) {
      const model = await serializeLowered(lowerForWasm(program))
      const trainer = { ...setup, onDevice: false, notes: [] }
      return openWebTrainer(loaded, program, model, trainer, { ...TRAINER_OPTIONS, ...options })
    },
  }
}

/** A model on WebAssembly, with its data files: browsers have no paths at which they could be found. */
export async function openWasmRunner(
  model: Uint8Array,
  dataFiles: readonly DataFile[],
  options: WebOptions = {},
): Promise<Runner> {
  return openWebRunner(await loadOrtWeb('wasm', options), model, { provider: 'wasm', dataFiles })
}

/** LpPool in ceil_mode as the products of a matrix for each axis. */
const lpPoolByMatrices: NodeForm = (op, node) =>
  node.int('ceil_mode', 0) === 0 ? null : EXPANSIONS.LpPool(op, node)

/**
 * The CPU engine's lowering, without pools in ceil_mode: ONNX Runtime infers another shape for some of them than its kernels
 * give, and its WebAssembly build refuses a program that states the right one.
 */
export function lowerForWasm(program: Program): Lowered {
  const { graph, opset } = lowerForCpu(program)
  replaceNodes(graph, { ...poolingForms, LpPool: [lpPoolByMatrices] })
  return { graph, opset }
}

const WEBGPU = { name: 'webgpu', preferredLayout: 'NCHW' } as const

/** The engine `webgpu`: state stays on the GPU between steps; shapes are looked at by the CPU kernels of the same bundle. */
export async function webgpuEngine(options: WebOptions = {}): Promise<Engine> {
  const adapter = await findAdapter()
  if (typeof adapter === 'string') {
    throw new EnvironmentError(`engine webgpu does not work here: ${adapter}`, {
      cure: 'use the engine wasm',
    })
  }
  const loaded = await loadOrtWeb('webgpu', options)
  const setup = { provider: WEBGPU }
  return {
    name: 'webgpu',
    description: `ONNX Runtime Web ${loaded.ort.env.versions.common}, WebGPU on ${describeAdapter(adapter)}`,
    capabilities: WEBGPU_CAPABILITIES,
    observer: cpuKernels(loaded),
    lower: lowerForWebgpu,
    openRunner: (model, runnerOptions) => openWebRunner(loaded, model, setup, runnerOptions),
    async openTrainer(program, trainerOptions) {
      const lowered = lowerForWebgpu(program)
      const trainer = { ...setup, onDevice: true, notes: cpuNotes(lowered) }
      return openWebTrainer(loaded, program, await serializeLowered(lowered), trainer, {
        ...TRAINER_OPTIONS,
        ...trainerOptions,
      })
    },
  }
}

/** Says which nodes the device has no kernel for; browsers have no profile that would show where each one ran. */
function cpuNotes({ graph }: Lowered): string[] {
  const { operators } = WEBGPU_CAPABILITIES
  const left = graph.nodes.filter(({ opType, domain }) => domain !== ONNX_DOMAIN || !operators.has(opType))
  if (left.length === 0) return []
  const names = [...new Set(left.map(({ opType }) => opType))].sort().join(', ')
  return [
    `webgpu: ${left.length} of ${graph.nodes.length} nodes have no kernel there and run on the CPU: ${names}`,
  ]
}
