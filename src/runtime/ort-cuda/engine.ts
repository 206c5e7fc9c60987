/** ONNX Runtime's CUDA execution provider: a chunk of steps is one run of a Loop, on one device. */

import { freemem } from 'node:os'
import type { Engine, Precision, SessionOptions } from '../engine.ts'
import { joinUpdates } from '../join-updates.ts'
import { cpuEngine } from '../ort-cpu/engine.ts'
import { openLoopTrainer } from '../ort/loop-trainer.ts'
import { PlacementCheck } from '../ort/placement-check.ts'
import type { ProviderSpec } from '../ort/messages.ts'
import { openRunner } from '../ort/session.ts'
import { serializeLowered, type Program } from '../program.ts'
import { CUDA_CAPABILITIES, nodesWithoutKernel } from './capabilities.ts'
import { hostNodes } from './host-nodes.ts'
import { wrapInLoop } from './loop-program.ts'
import { lowerForCuda } from './lowering/index.ts'
import { settlePrecision } from './precision.ts'

/**
 * The most bytes of batches in one run. They are in memory three times: being stacked, waiting, and on the device; a
 * thirty-second part of what the machine has free, at most a GiB (27 batches of 64 images of 224x224), is little beside
 * what either has.
 */
function chunkBytesHere(): number {
  return Math.min(2 ** 30, Math.max(2 ** 26, freemem() / 32))
}

/** With memory patterns the arena holds the blocks of the first run and the planned block of the others at once. */
const TRAINER_OPTIONS: SessionOptions = { optimization: 'extended', memoryPattern: false }

export interface CudaOptions {
  /** Which GPU; 0 is the first. */
  readonly device: number
  readonly precision: Precision
}

/** The engine on a device. Opening it settles the precision of the whole process (precision.ts). */
export function cudaEngine({ device, precision }: CudaOptions): Engine {
  settlePrecision(precision)
  const engine = loopEngine({
    description: `ONNX Runtime, CUDA execution provider, GPU ${device}, ${precision}`,
    providers: [{ name: 'cuda', deviceId: device }],
    provider: 'CUDAExecutionProvider',
  })
  return { ...engine, precision }
}

/** On which execution provider the programs for CUDA run. */
export interface LoopEngineSetup {
  readonly description: string
  readonly providers: readonly ProviderSpec[]
  /** As ONNX Runtime names the provider on which nodes are expected. */
  readonly provider: string
  readonly chunkBytes?: number
}

/** The engine on any provider: that of the CPU runs the same programs, which is how they are tested without a GPU. */
export function loopEngine(setup: LoopEngineSetup): Engine {
  const { description, providers, provider, chunkBytes = chunkBytesHere() } = setup
  return {
    name: 'cuda',
    description,
    capabilities: CUDA_CAPABILITIES,
    observer: cpuEngine(),
    lower: lowerForCuda,
    openRunner: (model, options = {}) => openRunner(model, providers, options),
    async openTrainer(program, options) {
      const lowered = lowerForCuda(program)
      joinUpdates(program, lowered.graph)
      const { lowered: loop, tripCount } = wrapInLoop(program, lowered)
      return openLoopTrainer(program, {
        providers,
        placement: new PlacementCheck(
          { ...TRAINER_OPTIONS, ...options },
          { provider, onHost: hostNodes(loop.graph) },
        ),
        model: await serializeLowered(loop),
        loop: {
          tripCount,
          chunkBytes,
          plain: await serializeLowered(lowered),
          batchSize: batchSizeOf(program),
        },
        notes: nodesWithoutKernel(lowered.graph).map(
          ({ node, reason }) => `${node.label} will run on the CPU: ${reason}`,
        ),
      })
    },
  }
}

/** Samples of a step: the first axis of the batch inputs. */
function batchSizeOf({ inputs }: Program): number {
  return inputs.find(({ shape }) => shape.length > 0)?.shape[0] ?? 1
}
