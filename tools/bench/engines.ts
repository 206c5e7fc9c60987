/**
 * How closely the engines of this machine agree: ten steps of fixture models on each, parameters and running statistics
 * against the CPU engine's, losses against PyTorch's, and what crossed to the device.
 *
 *     node --import tsx tools/bench/engines.ts [engine ...]
 *
 * `loop` is the CUDA engine's program on the CPU provider. WebGPU without a GPU: VK_DRIVER_FILES names SwiftShader's ICD.
 */

import { chooseEngine } from '../../src/runtime/choose-engine.ts'
import type { Engine } from '../../src/runtime/engine.ts'
import { cpuEngine } from '../../src/runtime/ort-cpu/engine.ts'
import { messageOf } from '../../src/util/errors.ts'
import { formatBytes, formatTable } from '../../src/util/format.ts'
import { relativeError } from '../../test/support/close.ts'
import { cpuLoopEngine } from '../../test/support/cpu-loop.ts'
import { openTraining } from '../../test/support/training.ts'
import { stepsOf } from '../../test/support/parity.ts'

const MODELS = ['bn_cnn-ts', 'mlp-ts', 'resnet18_narrow-ts']
const STEPS = 10

const named = process.argv.slice(2)
const engines = named.length > 0 ? named : ['loop', 'webgpu', 'tfjs', 'cuda']

async function open(name: string): Promise<Engine> {
  return name === 'loop' ? cpuLoopEngine() : (await chooseEngine(name)).engine
}

/** State and losses of ten steps. */
async function train(model: string, engine: Engine) {
  const run = await openTraining(model, 'train', undefined, engine)
  try {
    const losses = await stepsOf(run, STEPS)
    const state = await run.trainer.readState()
    const { traffic } = run.trainer
    return { losses, state, traffic, reference: run.reference.losses64 }
  } finally {
    await run.trainer.close()
  }
}

const rows = [
  ['engine', 'model', 'parameters', 'statistics', 'losses (PyTorch)', 'batch a step', 'state a step'],
]
for (const name of engines) {
  for (const model of MODELS) {
    try {
      const expected = await train(model, cpuEngine())
      const found = await train(model, await open(name))
      const error = (vector: string) => {
        const [a, b] = [found.state.get(vector), expected.state.get(vector)]
        return a && b ? relativeError(a.toNumbers(), b.toNumbers()).toExponential(1) : '-'
      }
      const losses = Math.max(
        ...found.losses.map((loss, i) => Math.abs(loss - found.reference[i]!) / found.reference[i]!),
      )
      const { batchBytes, stateBytes } = found.traffic
      const perStep = (bytes: number) => formatBytes(bytes / STEPS)
      rows.push([
        name,
        model,
        error('theta'),
        error('bn'),
        losses.toExponential(1),
        perStep(batchBytes),
        perStep(stateBytes),
      ])
    } catch (error) {
      rows.push([name, model, messageOf(error).split('\n')[0]!.slice(0, 100)])
      break
    }
  }
}
console.log(formatTable(rows))
