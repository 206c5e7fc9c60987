/**
 * Where the nodes of a session really ran: ONNX Runtime puts nodes without a kernel on the CPU and says nothing. Its
 * profile, a Chrome trace, names the execution provider of every kernel that ran, those inside a Loop too.
 */

import { readdirSync, readFileSync, rmSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { InputError } from '../../util/errors.ts'

/** A node that ran, and on which execution provider. */
export interface PlacedNode {
  readonly name: string
  readonly opType: string
  /** `CPUExecutionProvider`, `CUDAExecutionProvider`, `WebGpuExecutionProvider`. */
  readonly provider: string
}

interface TraceEvent {
  readonly cat?: string
  readonly name?: string
  readonly args?: { readonly op_name?: string; readonly provider?: string }
}

const KERNEL = '_kernel_time'

/** Reads the profiles written under a file prefix, once each node, and removes the files. */
export function takePlacement(prefix: string): PlacedNode[] {
  const folder = dirname(prefix)
  const files = readdirSync(folder).filter(
    name => name.startsWith(basename(prefix)) && name.endsWith('.json'),
  )
  const nodes = files.flatMap(name => placementOf(readFileSync(join(folder, name), 'utf8'), name))
  for (const name of files) rmSync(join(folder, name), { force: true })
  return [...new Map(nodes.map(node => [`${node.name}|${node.provider}`, node])).values()]
}

/** The nodes of one trace. */
export function placementOf(trace: string, file: string): PlacedNode[] {
  let events: TraceEvent[]
  try {
    events = JSON.parse(trace) as TraceEvent[]
  } catch (error) {
    throw new InputError(`profile ${file}: expected a whole JSON trace`, { cause: error })
  }
  return events.flatMap(({ cat, name, args }) => {
    if (cat !== 'Node' || !name?.endsWith(KERNEL) || !args?.op_name || !args.provider) return []
    return [{ name: name.slice(0, -KERNEL.length), opType: args.op_name, provider: args.provider }]
  })
}
