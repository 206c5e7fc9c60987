/** What a person should know about where the nodes of a program ran. */

import type { PlacedNode } from './placement.ts'

/** Names of nodes that a note gives as examples. */
const EXAMPLES = 3

/**
 * What ONNX Runtime does on the CPU for a device without loss: it asks for shapes there, and adds copies by itself (the
 * operators beside a copy tell why there is one).
 */
const HOST_OPERATORS: ReadonlySet<string> = new Set(['Shape', 'Size', 'MemcpyFromHost', 'MemcpyToHost'])

/**
 * One note for each operator whose nodes ran elsewhere than on the expected execution provider; none where all is well.
 *
 * @param provider as ONNX Runtime names it: `WebGpuExecutionProvider`
 * @param onHost names of nodes that belong on the CPU
 */
export function placementNotes(
  placed: readonly PlacedNode[],
  provider: string,
  onHost: ReadonlySet<string>,
): string[] {
  const groups = new Map<string, string[]>()
  for (const { name, opType, provider: found } of placed) {
    if (found === provider || HOST_OPERATORS.has(opType) || onHost.has(name)) continue
    const what = `${opType} ran on ${found}`
    groups.set(what, [...(groups.get(what) ?? []), name])
  }
  return [...groups].map(([what, names]) => {
    const shown = names.slice(0, EXAMPLES).map(name => `"${name}"`)
    const more = names.length > EXAMPLES ? ', ...' : ''
    const nodes = names.length === 1 ? '1 node' : `${names.length} nodes`
    return `${nodes} ${what}, not on ${provider}, with copies to and fro at each step: ${shown.join(', ')}${more}`
  })
}
