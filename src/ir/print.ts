/** A graph as text, one node a line: the form of debug output and of gradient snapshots in tests. */

import { decodeText, type Attribute } from './attribute.ts'
import type { Graph } from './graph.ts'
import type { Node } from './node.ts'
import type { Value } from './value.ts'

/** `y<float32,[2,3]> = Conv {strides=[1,1]} (x, w)` lines between the graph's inputs and outputs. */
export function printGraph(graph: Graph): string {
  const header = `graph ${graph.name} (${graph.feeds.map(printTyped).join(', ')})`
  const weights = graph.initializers.map(value => `  weight ${printTyped(value)}`)
  const body = graph.nodes.map(node => `  ${printNode(node)}`)
  return [header, ...weights, ...body, `  return ${graph.outputs.map(printTyped).join(', ')}`].join('\n')
}

export function printNode(node: Node): string {
  const outputs = node.outputs.map(value => (value ? printTyped(value) : '_')).join(', ')
  const attributes = [...node.attributes]
    .map(([name, attribute]) => `${name}=${printAttribute(attribute)}`)
    .join(' ')
  const inputs = node.inputs.map(value => value?.name ?? '_').join(', ')
  const operator = node.domain ? `${node.domain}.${node.opType}` : node.opType
  return `${outputs} = ${operator}${attributes ? ` {${attributes}}` : ''} (${inputs})`
}

function printTyped(value: Value): string {
  return value.toString().replace('%"', '').replace('"', '')
}

function printAttribute(attribute: Attribute): string {
  if (attribute.kind === 'string') return JSON.stringify(decodeText(attribute.value))
  if (attribute.kind === 'ints' || attribute.kind === 'floats') return `[${attribute.value.join(',')}]`
  if (attribute.kind === 'float' || attribute.kind === 'int') return String(attribute.value)
  return `<${attribute.kind}>`
}
