/** The tfjs engine in Node: one thread for all sessions, because a native backend is loaded once in a process. */

import type { Engine } from '../engine.ts'
import { cpuEngine } from '../ort-cpu/engine.ts'
import { Thread } from '../../util/thread.ts'
import { tfjsEngine } from './engine.ts'
import type { Loaded } from './loaded.ts'
import type { Requests } from './messages.ts'

let shared: Thread<Requests> | null = null

/** The thread; a new one where the last has died. */
export function tfjsThread(): Thread<Requests> {
  if (shared?.alive) return shared
  // TensorFlow writes a page of messages when it starts. It reads the process's environment, not the thread's copy.
  process.env['TF_CPP_MIN_LOG_LEVEL'] ??= '2'
  shared = new Thread<Requests>('./worker', import.meta.url, 'tfjs')
  return shared
}

/** Loads the best tfjs package that is installed. */
export async function openTfjs(): Promise<{ engine: Engine; loaded: Loaded }> {
  const loaded = await tfjsThread().request('load', null)
  return { engine: tfjsEngine(tfjsThread, loaded, cpuEngine()), loaded }
}
