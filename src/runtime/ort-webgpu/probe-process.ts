/** The process that tries WebGPU (probe.ts): one small model, one line of JSON on stdout. */

import { tryRunner } from '../probe.ts'
import { webgpuEngine } from './engine.ts'

const outcome = await tryRunner(model => webgpuEngine().openRunner(model))
process.stdout.write(JSON.stringify(outcome))
