/**
 * In which precision CUDA multiplies. ONNX Runtime switches TF32 on by itself: from Ampere on, MatMul and Conv of float32
 * then round their operands to 10 bits. The Node binding has no option for it; NVIDIA's libraries have an environment
 * variable, which they read once, when they are first used.
 */

import { isMainThread } from 'node:worker_threads'
import { EnvironmentError } from '../../util/errors.ts'
import type { Precision } from '../engine.ts'

const VARIABLE = 'NVIDIA_TF32_OVERRIDE'

/**
 * Precision -> what the variable must be; undefined: not set.
 *
 * The default is float32: gradients then agree with those of the CPU engine and of PyTorch to the digits that the numerical
 * contract promises (1e-4; TF32 rounds each operand by up to 5e-4), and a model's accuracy does not depend on where it was
 * trained. Who wants the speed asks for tf32.
 */
const OVERRIDE: Readonly<Record<Precision, string | undefined>> = {
  float32: '0',
  tf32: undefined,
  // What is left in float32 is so for its digits.
  float16: '0',
}

/** What this process's CUDA libraries were told before they were loaded. */
let settled: Precision | null = null

/** Makes a precision the process's. Must come before the first session on CUDA; later it can only be confirmed. */
export function settlePrecision(precision: Precision): void {
  if (settled !== null && settled !== precision) {
    throw new EnvironmentError(`cuda: this process computes in ${settled} already, expected ${precision}`, {
      cure: `NVIDIA's libraries settle this once a process: start another for ${precision}`,
    })
  }
  const wanted = OVERRIDE[precision]
  if (process.env[VARIABLE] !== wanted) {
    // A worker thread has a copy of the environment; the libraries read the process's own.
    if (!isMainThread) {
      throw new EnvironmentError(
        `cuda: ${VARIABLE} is ${process.env[VARIABLE] ?? 'not set'}, expected ${wanted ?? 'not set'} for ${precision}`,
        { cure: 'set it before the process starts, or open the engine in the main thread first' },
      )
    }
    if (wanted === undefined) Reflect.deleteProperty(process.env, VARIABLE)
    else process.env[VARIABLE] = wanted
  }
  settled = precision
}
