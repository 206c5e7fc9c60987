/** What a model's file says of itself: declared shapes, names of classes. Its weights are not read. */

import { readFile } from 'node:fs/promises'
import { dirname, relative, sep } from 'node:path'
import type { Model } from '../../ir/graph.ts'
import type { Value } from '../../ir/value.ts'
import type { Port } from '../../runtime/engine.ts'
import { externalDataOf, loadModel } from '../../serde/index.ts'
import { formatShape } from '../../tensor/shape.ts'
import { UnsupportedError } from '../../util/errors.ts'
import { datatypeOf } from '../protocol/datatypes.ts'
import type { PortSpec, Signature } from '../protocol/signature.ts'

export interface Description {
  /** Names of inputs and outputs -> what they are declared as; null where the file could not be understood. */
  readonly declared: ReadonlyMap<string, Value> | null
  readonly labels: readonly string[] | null
  /** Whether an input or output is bfloat16. */
  readonly bfloat16: boolean
  /** Files beside it that its weights are in. */
  readonly dataFiles: readonly string[]
}

const UNKNOWN: Description = { declared: null, labels: null, bfloat16: false, dataFiles: [] }

/** Models that the toolkit does not understand (operator sets to come, for instance) are served as the runtime sees them. */
export async function describeModel(path: string): Promise<Description> {
  let file
  try {
    file = await loadModel(path)
  } catch {
    return UNKNOWN
  }
  try {
    const { graph, metadata } = file.model
    const ports = [...graph.feeds, ...graph.outputs]
    return {
      declared: new Map(ports.map(value => [value.name, value])),
      labels: labelsOf(metadata),
      bfloat16: hasBfloat16(file.model),
      dataFiles: externalDataOf(file).files.map(({ path }) => path),
    }
  } finally {
    await file.close()
  }
}

function hasBfloat16({ graph }: Model): boolean {
  return [...graph.feeds, ...graph.outputs].some(
    ({ type }) => type?.kind === 'tensor' && type.dtype === 'bfloat16',
  )
}

/** The name by which a model knows a data file: its place beside the model. */
export function dataFileName(model: string, path: string): string {
  return relative(dirname(model), path).split(sep).join('/')
}

/** The ports of a session in the words of the protocol; outputs that are no tensors are left out. */
export function signatureOf(
  { inputs, outputs }: { readonly inputs: readonly Port[]; readonly outputs: readonly Port[] },
  { declared }: Description,
): Signature {
  const specOf = (port: Port): PortSpec | null => {
    const datatype = port.dtype && datatypeOf(port.dtype)
    if (port.dtype === null || datatype === null) return null
    const type = declared?.get(port.name)?.type
    // The runtime gives [] for a scalar and for a shape that is not declared.
    const open = port.shape.length === 0 && (type?.kind === 'tensor' ? type.shape === null : true)
    const shape = open ? null : port.shape.map(dim => (typeof dim === 'number' ? dim : null))
    return { name: port.name, datatype, dtype: port.dtype, shape }
  }
  return {
    inputs: inputs.map(port => {
      const spec = specOf(port)
      if (spec !== null) return spec
      throw new UnsupportedError(
        `input ${port.name} is ${port.dtype ?? 'no tensor'}${formatShape(port.shape)}, which the protocol has no datatype for`,
      )
    }),
    outputs: outputs.map(specOf).filter(spec => spec !== null),
  }
}

/** Keys under which exporters write class names: a JSON list, or a dictionary of Python. */
const LABEL_KEYS = ['labels', 'names', 'classes', 'class_names']

function labelsOf(metadata: ReadonlyMap<string, string>): string[] | null {
  for (const key of LABEL_KEYS) {
    const labels = parseLabels(metadata.get(key) ?? '')
    if (labels !== null) return labels
  }
  return null
}

/** `["cat","dog"]`, `{"0": "cat"}` or `{0: 'cat', 1: 'dog'}`. */
export function parseLabels(text: string): string[] | null {
  const json = text
    .replace(/'((?:[^'\\]|\\.)*)'/g, (_, inner: string) => JSON.stringify(inner))
    .replace(/([{,]\s*)(\d+)\s*:/g, '$1"$2":')
  for (const candidate of [text, json]) {
    try {
      const value: unknown = JSON.parse(candidate)
      if (typeof value !== 'object' || value === null) continue
      const labels: unknown[] = []
      for (const [key, label] of Object.entries(value)) {
        if (/^\d{1,6}$/.test(key)) labels[Number(key)] = label
      }
      if (labels.length > 0 && Array.from(labels).every(label => typeof label === 'string')) {
        return labels as string[]
      }
    } catch {
      // Not this form.
    }
  }
  return null
}

/** Names of classes in a file, one a line; empty lines at the end are none. */
export async function readLabels(path: string): Promise<string[]> {
  const text = await readFile(path, 'utf8')
  return text.replace(/(?:\r?\n)+$/, '').split(/\r?\n/)
}
