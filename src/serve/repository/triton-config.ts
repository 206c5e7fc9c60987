/** What a model's config.pbtxt says, as settings of ours; what it asks for and we do not have is refused by name. */

import { readFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { parseModelConfig, type ConfiguredPort, type ModelConfig } from '../../serde/index.ts'
import { InputError, UnsupportedError } from '../../util/errors.ts'
import { tritonType } from '../protocol/datatypes.ts'
import type { PortSpec, Signature } from '../protocol/signature.ts'
import type { ModelSettings, VersionPolicy } from './settings.ts'

export interface ConfiguredModel {
  readonly settings: ModelSettings
  /** null: that of the server. */
  readonly policy: VersionPolicy | null
  /** File with class names. */
  readonly labels: string | null
  readonly config: ModelConfig
}

const BACKENDS = ['', 'onnxruntime', 'onnxruntime_onnx', 'onnx_onnxv1']

/** Reads the configuration at `path` of the model `name`. */
export async function readTritonConfig(
  path: string,
  name: string,
  base: ModelSettings,
): Promise<ConfiguredModel> {
  const config = parseModelConfig(await readFile(path, 'utf8'), `${name}/config.pbtxt`)
  const where = `${name}/config.pbtxt`
  if (config.name !== undefined && config.name !== name) {
    throw new InputError(`${where}: name is "${config.name}", the folder is "${name}"`)
  }
  for (const key of ['platform', 'backend'] as const) {
    const value = config[key] ?? ''
    if (!BACKENDS.includes(value))
      throw new UnsupportedError(`${where}: ${key} "${value}" is not served, expected onnxruntime`)
  }
  for (const key of ['ensemble_scheduling', 'sequence_batching'] as const) {
    if (config[key] !== undefined) throw new UnsupportedError(`${where}: ${key} is not served`)
  }
  const labels = config.output?.find(({ label_filename }) => label_filename)?.label_filename
  return {
    settings: settingsOf(config, base),
    policy: policyOf(config),
    labels: labels === undefined ? null : labelsPath(path, labels, where),
    config,
  }
}

function settingsOf(config: ModelConfig, base: ModelSettings): ModelSettings {
  const { max_batch_size: maxBatch, dynamic_batching: batching, instance_group: groups = [] } = config
  const { default_queue_policy: queue = {}, preferred_batch_size: preferred = [] } = batching ?? {}
  const preference = Math.max(0, ...preferred)
  const count = groups.reduce((sum, { count = 1 }) => sum + Math.max(1, count), 0)
  const micros = (text: string | undefined) =>
    text === undefined || text === '0' ? null : Number(text) / 1000
  return {
    ...base,
    ...(maxBatch === undefined ? {} : { maxBatch: Math.max(1, preference || maxBatch) }),
    maxDelay: micros(batching?.max_queue_delay_microseconds) ?? base.maxDelay,
    maxQueue: queue.max_queue_size || base.maxQueue,
    timeout: micros(queue.default_timeout_microseconds) ?? base.timeout,
    instances: count === 0 ? base.instances : count,
  }
}

function policyOf({ version_policy: policy }: ModelConfig): VersionPolicy | null {
  if (policy?.all) return { kind: 'all' }
  if (policy?.specific) return { kind: 'specific', versions: policy.specific.versions }
  if (policy?.latest) return { kind: 'latest', count: Math.max(1, policy.latest.num_versions ?? 1) }
  return null
}

/** Beside the configuration, and nowhere else. */
function labelsPath(config: string, name: string, where: string): string {
  if (/[/\\]/.test(name) || name === '..') {
    throw new InputError(`${where}: label_filename "${name}": expected a file beside the configuration`)
  }
  return join(dirname(config), name)
}

/** Refuses names that the model has not, and types and dimensions that contradict the model's. */
export function checkConfiguredPorts({ config }: ConfiguredModel, { inputs, outputs }: Signature): void {
  for (const [kind, asked, ports] of [
    ['input', config.input ?? [], inputs],
    ['output', config.output ?? [], outputs],
  ] as const) {
    for (const one of asked) {
      const port = ports.find(({ name }) => name === one.name)
      if (!port) {
        const known = ports.map(({ name }) => `"${name}"`).join(', ')
        throw new InputError(`config.pbtxt has the ${kind} "${one.name}", the model has ${known}`)
      }
      checkConfiguredPort(`config.pbtxt: ${kind} "${port.name}"`, one, port, config.max_batch_size)
    }
  }
}

function checkConfiguredPort(
  where: string,
  { data_type: type = ANY_TYPE, dims = [], reshape }: ConfiguredPort,
  { datatype, shape }: PortSpec,
  maxBatch: number | undefined,
): void {
  const wanted = tritonType(datatype)
  if (type !== ANY_TYPE && type !== wanted)
    throw new InputError(`${where} is ${type}, in the model ${wanted}`)
  if (dims.length === 0 || shape === null) return
  const given = (reshape?.shape ?? dims).map(Number)
  // Triton's own completion takes both where it is not said whether the model batches.
  const shapes = maxBatch === undefined ? [shape, shape.slice(1)] : [maxBatch > 0 ? shape.slice(1) : shape]
  if (shapes.some(own => isCompatible(given, own))) return
  const found = shapes[0]!.map(dim => dim ?? -1).join(',')
  throw new InputError(`${where} has dims [${given.join(',')}], in the model [${found}]`)
}

const ANY_TYPE = 'TYPE_INVALID'

/** An open dimension agrees with any; a scalar has the dims [1]. */
function isCompatible(given: readonly number[], own: readonly (number | null)[]): boolean {
  if (own.length === 0) return given.every(dim => dim === 1)
  return (
    given.length === own.length && own.every((dim, i) => dim === null || given[i]! < 0 || given[i] === dim)
  )
}
