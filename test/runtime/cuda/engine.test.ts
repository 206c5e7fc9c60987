/** The engine from outside: whether it works here, what is missing, how exactly it multiplies. */

import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { Worker } from 'node:worker_threads'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { chooseEngine } from '../../../src/runtime/choose-engine.ts'
import { ENGINE_NAMES, parseEngine } from '../../../src/runtime/engines.ts'
import {
  cureFor,
  linkerMessage,
  obstacleOn,
  thisMachine,
  type Machine,
} from '../../../src/runtime/ort-cuda/cure.ts'
import { cudaEngine } from '../../../src/runtime/ort-cuda/engine.ts'
import { cuda } from '../../../src/runtime/ort-cuda/index.ts'
import { sizeOf } from '../../../src/tensor/shape.ts'
import { Tensor } from '../../../src/tensor/tensor.ts'
import { assertClose } from '../../support/close.ts'
import { cpuLoopEngine } from '../../support/cpu-loop.ts'
import { errorOf } from '../../support/errors.ts'

/** A machine with a GPU need not have CUDA: only what is found without a driver is certain. */
const HAS_DRIVER = existsSync('/dev/nvidiactl') || existsSync('/dev/dxg')

test('cuda is tried before the CPU, on the device that was named', () => {
  assert.ok(ENGINE_NAMES.indexOf('cuda') < ENGINE_NAMES.indexOf('cpu'))
  assert.equal(parseEngine('cuda:1'), { name: 'cuda', device: 1 })
})

if (HAS_DRIVER) {
  test('no machine without a GPU here: its report is not tried', () => assert.ok(HAS_DRIVER))
} else {
  test('without a GPU the report says what is missing, and how to get it', async () => {
    const report = await cuda.probe({ device: 0 })
    assert.equal([report.name, report.works, report.accelerated], ['cuda', false, false])
    assert.ok(report.found.length > 0)
    assert.ok(report.cure !== null)
  })

  test('asked for by name it is an error of the environment, never another engine', async () => {
    const error = await errorOf(chooseEngine('cuda'))
    assert.is(error.exitCode, 4)
    assert.match(error.message, /^engine cuda does not work here: /)
    assert.ok(error.cure)
  })
}

test('float32 is exact: TF32 is switched off before CUDA is loaded, once for the process', async () => {
  const engine = cudaEngine({ device: 1, precision: 'float32' })
  assert.is(process.env['NVIDIA_TF32_OVERRIDE'], '0')
  assert.is(engine.description, 'ONNX Runtime, CUDA execution provider, GPU 1, float32')
  assert.is(engine.observer?.name, 'cpu')
  assert.is(engine.capabilities.state, 'run')
  const error = await errorOf(() => cudaEngine({ device: 0, precision: 'tf32' }))
  assert.is(error.message, 'cuda: this process computes in float32 already, expected tf32')
  // Where CUDA may work at all, the report says the same.
  if (obstacleOn(thisMachine()) === null) {
    assert.is((await cuda.probe({ device: 0, precision: 'tf32' })).found, error.message)
  }
})

/** Settles a precision in a thread whose environment holds `value`; says what it threw and what it left there. */
async function inThread(precision: string, value: string | null): Promise<unknown> {
  const file = JSON.stringify(new URL('../../../src/runtime/ort-cuda/precision.ts', import.meta.url).href)
  const script = `
    const { parentPort } = require('node:worker_threads')
    import('tsx/esm/api').then(async tsx => {
      tsx.register()
      const { settlePrecision } = await import(${file})
      try {
        settlePrecision(${JSON.stringify(precision)})
        parentPort.postMessage(null)
      } catch (error) {
        parentPort.postMessage(error.message)
      }
    })`
  const { NVIDIA_TF32_OVERRIDE: _, ...rest } = process.env
  const env = value === null ? rest : { ...rest, NVIDIA_TF32_OVERRIDE: value }
  const worker = new Worker(script, { eval: true, env })
  try {
    return await new Promise((resolve, reject) => worker.once('message', resolve).once('error', reject))
  } finally {
    await worker.terminate()
  }
}

test('a thread cannot change the environment of its process, and says so', async () => {
  assert.is(await inThread('float32', '0'), null)
  assert.is(await inThread('float32', null), 'cuda: NVIDIA_TF32_OVERRIDE is not set, expected 0 for float32')
  assert.is(await inThread('float16', '0'), null, 'what mixed precision leaves in float32 is float32')
  assert.is(await inThread('tf32', '0'), 'cuda: NVIDIA_TF32_OVERRIDE is 0, expected not set for tf32')
})

const LINUX: Machine = { platform: 'linux', arch: 'x64', hasProvider: true, hasDriver: true }
const missing = (library: string) =>
  `Failed to load library libonnxruntime_providers_cuda.so with error: ${library}: cannot open shared object file: No such file or directory`

/** What the engine said, on which machine -> the cure. */
const CURES: readonly (readonly [string, Partial<Machine>, RegExp])[] = [
  [
    '',
    { hasProvider: false },
    /^run `npm rebuild onnxruntime-node --onnxruntime-node-install=cuda12`; it needs CUDA 12/,
  ],
  [
    '',
    { hasProvider: false, hasDriver: false },
    /install the NVIDIA driver: this machine has no \/dev\/nvidiactl/,
  ],
  ['', { hasProvider: null }, /^run `npm install onnxruntime-node`$/],
  [
    missing('libcudnn.so.9'),
    {},
    /^install cuDNN 9 for CUDA 12, which holds libcudnn\.so\.9, and put its folder on LD_LIBRARY_PATH/,
  ],
  [missing('libcurand.so.10'), { hasDriver: false }, /the NVIDIA driver is missing too/],
  [missing('libcublasLt.so.12'), {}, /^install the CUDA 12 toolkit, which holds libcublasLt\.so\.12/],
  [missing('libonnxruntime_providers_shared.so'), {}, /^run `npm rebuild onnxruntime-node/],
  [missing('libcuda.so.1'), {}, /^install the NVIDIA driver, which holds libcuda\.so\.1/],
  [
    'CUDA failure 100: no CUDA-capable device is detected',
    { hasDriver: false },
    /^install the NVIDIA driver/,
  ],
  ['CUDA failure 35: CUDA driver version is insufficient', {}, /`nvidia-smi` lists the GPU/],
  ['', { arch: 'arm64' }, /linux-x64 only, this is linux-arm64; use --engine webgpu, or cpu/],
  ['', { platform: 'win32' }, /use --engine webgpu, which runs on any GPU, or run under WSL 2/],
  ['', { platform: 'darwin', arch: 'arm64' }, /^macOS has no CUDA; use --engine webgpu/],
]

test('what is known without trying', () => {
  const rows: readonly (readonly [Partial<Machine>, string | null])[] = [
    [{}, null],
    [{ hasDriver: false }, null],
    [{ hasProvider: false }, 'onnxruntime-node was installed without libonnxruntime_providers_cuda.so'],
    [{ hasProvider: null }, 'onnxruntime-node is not installed'],
    [{ platform: 'win32' }, 'onnxruntime-node has no CUDA for win32-x64'],
    [{ arch: 'arm64' }, 'onnxruntime-node has no CUDA for linux-arm64'],
  ]
  for (const [machine, expected] of rows) assert.is(obstacleOn({ ...LINUX, ...machine }), expected)
})

test('the dynamic linker is asked for the library that is missing', () => {
  const message = linkerMessage(join(import.meta.dirname, 'libcudnn.so.9'))
  assert.match(cureFor(message!, LINUX), /^install cuDNN 9 for CUDA 12, which holds libcudnn\.so\.9/)
})

test('inference takes the options of a session', async () => {
  const file = join(import.meta.dirname, '../../../fixtures/demo/digits_cnn.onnx')
  const outputs = []
  for (const options of [undefined, { threads: 1, optimization: 'disabled' as const }]) {
    const runner = await cpuLoopEngine().openRunner(file, options)
    const [input] = runner.inputs
    const shape = input!.shape.map(dim => (typeof dim === 'number' ? dim : 2))
    const pixels = Float32Array.from({ length: sizeOf(shape) }, (_, i) => (i % 17) / 17)
    const found = await runner.run(new Map([[input!.name, Tensor.of('float32', shape, pixels)]]))
    outputs.push([...found.values()][0]!.toNumbers())
    await runner.close()
  }
  assertClose(outputs[1]!, outputs[0]!, { relative: 1e-5, absolute: 1e-5 }, 'outputs')
})

for (const [problem, machine, expected] of CURES) {
  test(`cure on ${JSON.stringify(machine)}: ${problem.slice(0, 60)}`, () => {
    assert.match(cureFor(problem, { ...LINUX, ...machine }), expected)
  })
}

test.run()
