/** Requests as Triton's own Python client sends them, byte for byte: what comes back are the values that went in. */

import { readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { gunzipSync, inflateSync } from 'node:zlib'
import { pino } from 'pino'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { cpuEngine } from '../../src/runtime/ort-cpu/engine.ts'
import { startServer } from '../../src/serve/server.ts'
import { RECORDED_DATATYPES, writeKnownModels } from './support/identity-models.ts'
import { ask, type RawAnswer } from './support/raw-http.ts'

interface RecordedInput {
  readonly name: string
  readonly datatype: string
  readonly shape: readonly number[]
  readonly binary: boolean
  /** BYTES in hexadecimal, INT64 as text. */
  readonly data: readonly (number | string | boolean)[]
}

interface Recorded {
  readonly name: string
  readonly kind: 'plain' | 'infer'
  readonly model: string
  readonly inputs: readonly RecordedInput[]
  /** null: the client was not told, and asks for all as binary data. */
  readonly outputs: readonly { readonly binary: boolean; readonly classes: number }[] | null
  readonly options: { readonly request_id?: string; readonly response_compression_algorithm?: string }
}

const FIXTURES = join(import.meta.dirname, '../../fixtures/serve/triton-client')
const recorded = JSON.parse(readFileSync(join(FIXTURES, 'index.json'), 'utf8')) as Recorded[]
const folder = await writeKnownModels(RECORDED_DATATYPES)
const server = await startServer({
  places: [{ path: folder, name: null }],
  engine: cpuEngine(),
  port: 0,
  adminToken: 'token',
  settings: { instances: 1, threads: 1 },
  logger: pino({ level: 'silent' }),
})
const port = Number(new URL(server.url).port)

function replay(name: string): Promise<RawAnswer> {
  return ask(port, readFileSync(join(FIXTURES, `${name}.http`)))
}

/** An element as index.json writes it. */
type Element = number | string | boolean

const BINARY: Readonly<
  Record<string, readonly [bytes: number, read: (view: DataView, at: number) => Element]>
> = {
  BOOL: [1, (view, at) => view.getUint8(at) === 1],
  UINT8: [1, (view, at) => view.getUint8(at)],
  INT64: [8, (view, at) => String(view.getBigInt64(at, true))],
  FP16: [2, (view, at) => halfToNumber(view.getUint16(at, true))],
  BF16: [2, (view, at) => new Float32Array(Uint32Array.of(view.getUint16(at, true) << 16).buffer)[0]!],
  FP32: [4, (view, at) => view.getFloat32(at, true)],
}

/** IEEE 754 binary16: sign, five bits of exponent, ten of fraction. */
function halfToNumber(bits: number): number {
  const [exponent, fraction] = [(bits >> 10) & 31, bits & 1023]
  const size = exponent === 0 ? fraction * 2 ** -24 : (1024 + fraction) * 2 ** (exponent - 25)
  return bits >> 15 ? -size : size
}

function readBinary(datatype: string, bytes: Buffer): Element[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const elements: Element[] = []
  if (datatype === 'BYTES') {
    for (let at = 0; at < bytes.length;) {
      const length = view.getUint32(at, true)
      elements.push(bytes.subarray(at + 4, at + 4 + length).toString('hex'))
      at += 4 + length
    }
    return elements
  }
  const [size, read] = BINARY[datatype]!
  for (let at = 0; at < bytes.length; at += size) elements.push(read(view, at))
  return elements
}

/** 64-bit integers are taken from the text: JSON.parse would round them. */
function readJson(datatype: string, data: readonly Element[], text: string): Element[] {
  if (datatype === 'INT64') return /"data":\[([^\]]*)\]/.exec(text)![1]!.split(',')
  if (datatype === 'BYTES') return data.map(item => Buffer.from(item as string).toString('hex'))
  return [...data]
}

interface Output {
  readonly name: string
  readonly datatype: string
  readonly shape: readonly number[]
  readonly parameters?: { readonly binary_data_size: number }
  readonly data?: Element[]
}

const UNPACK: Readonly<Record<string, (bytes: Buffer) => Buffer>> = { gzip: gunzipSync, deflate: inflateSync }

/** Checks the head of an answer with one output; gives its shape and elements. */
function readAnswer({ status, headers, body: raw }: RawAnswer, { model, outputs, options }: Recorded) {
  assert.is(status, 200, raw.toString())
  const packing = options.response_compression_algorithm
  assert.is(headers.get('content-encoding'), packing)
  assert.is(headers.get('content-length'), String(raw.length))
  const body = packing ? UNPACK[packing]!(raw) : raw
  const binary = outputs?.[0]!.binary ?? true
  assert.is(headers.get('content-type'), binary ? 'application/octet-stream' : 'application/json')
  const header = headers.get('inference-header-content-length')
  assert.is(header !== undefined, binary)
  const text = body.subarray(0, header === undefined ? body.length : Number(header)).toString()
  const answer = JSON.parse(text) as Record<string, unknown> & { readonly outputs: readonly [Output] }
  assert.equal(
    [answer['model_name'], answer['model_version'], answer['id'] ?? ''],
    [model, '1', options.request_id ?? ''],
  )
  assert.is(answer.outputs.length, 1)
  const [output] = answer.outputs
  assert.is(output.name, 'y')
  if (!binary) {
    assert.is(output.parameters, undefined)
    return { ...output, elements: readJson(output.datatype, output.data!, text) }
  }
  const tensor = body.subarray(Number(header))
  assert.is(output.parameters!.binary_data_size, tensor.length)
  assert.is(output.data, undefined)
  return { ...output, elements: readBinary(output.datatype, tensor) }
}

/** y = x, or y = a + b. */
function expected({ inputs }: Recorded): readonly Element[] {
  const [first, second] = inputs
  if (!second) return first!.data
  return first!.data.map((value, i) => (value as number) + (second.data[i] as number))
}

/** The largest of each row, as Triton writes them: value:index. */
function expectedClasses({ shape, data }: RecordedInput, count: number): string[] {
  const [rows, width] = shape as [number, number]
  return Array.from({ length: rows }, (_, row) =>
    (data as number[])
      .slice(row * width, (row + 1) * width)
      .map((value, index) => ({ value, index }))
      .sort((a, b) => b.value - a.value)
      .slice(0, count)
      .map(({ value, index }) => Buffer.from(`${value.toFixed(6)}:${index}`).toString('hex')),
  ).flat()
}

for (const row of recorded.filter(({ kind }) => kind === 'infer')) {
  test(`infer: ${row.name}`, async () => {
    const [input] = row.inputs
    const { datatype, shape, elements } = readAnswer(await replay(row.name), row)
    const classes = row.outputs?.[0]!.classes ?? 0
    assert.is(datatype, classes > 0 ? 'BYTES' : input!.datatype)
    assert.equal(shape, classes > 0 ? [input!.shape[0], classes] : input!.shape)
    assert.equal(elements, classes > 0 ? expectedClasses(input!, classes) : expected(row))
  })
}

const X = { name: 'x', datatype: 'FP32', shape: [-1, -1] }
const METADATA = {
  name: 'fp32',
  versions: ['1'],
  platform: 'onnx_onnxv1',
  inputs: [X],
  outputs: [{ ...X, name: 'y' }],
}
type Json = Record<string, unknown>

/** What the client wants to find in an answer; it takes an empty body where it looks at the status only. */
const PLAIN: Readonly<Record<string, (answer: unknown) => void>> = {
  live: answer => assert.equal(answer, { live: true }),
  ready: answer => assert.equal(answer, { ready: true }),
  'model-ready': answer => assert.equal(answer, { name: 'fp32', ready: true }),
  'model-version-ready': answer => assert.equal(answer, { name: 'fp32', ready: true }),
  'server-metadata': answer => {
    const { name, extensions } = answer as { name: string; extensions: string[] }
    assert.is(name, 'swa-onnx')
    for (const one of ['binary_tensor_data', 'classification', 'statistics'])
      assert.ok(extensions.includes(one))
  },
  'model-metadata': answer => assert.equal(answer, METADATA),
  'model-version-metadata': answer => assert.equal(answer, METADATA),
  'model-config': answer => {
    const { name, input, output } = answer as { name: string; input: Json[]; output: Json[] }
    assert.equal([name, input.length, output.length], ['fp32', 1, 1])
    assert.equal([input[0]!['name'], input[0]!['data_type']], ['x', 'TYPE_FP32'])
    assert.equal([output[0]!['name'], output[0]!['data_type']], ['y', 'TYPE_FP32'])
  },
  statistics: answer => {
    const { model_stats } = answer as { model_stats: { name: string }[] }
    const names = ['sum', ...RECORDED_DATATYPES.map(name => name.toLowerCase())]
    assert.equal(model_stats.map(({ name }) => name).sort(), names.sort())
  },
  'model-statistics': answer => {
    const { model_stats } = answer as { model_stats: [Json & { inference_stats: { success: Json } }] }
    const [{ name, version, inference_stats }] = model_stats
    // The requests above, none of which failed.
    const asked = recorded.filter(({ kind, model }) => kind === 'infer' && model === 'fp32').length
    assert.equal([name, version, inference_stats.success['count']], ['fp32', '1', asked])
  },
  'repository-index': answer => {
    const rows = answer as { name: string; version: string; state: string }[]
    assert.equal(
      rows.map(({ version, state }) => `${version} ${state}`),
      Array.from({ length: RECORDED_DATATYPES.length + 1 }, () => '1 READY'),
    )
  },
  unload: answer => assert.is(answer, null),
  load: answer => assert.is(answer, null),
}

for (const { name } of recorded.filter(({ kind }) => kind === 'plain')) {
  test(name, async () => {
    const { status, body } = await replay(name)
    assert.is(status, 200, body.toString())
    PLAIN[name]!(body.length === 0 ? null : JSON.parse(body.toString()))
  })
}

test('what was unloaded and loaded again answers', async () => {
  assert.is((await replay('unload')).status, 200)
  assert.match((await replay('uint8-json')).body.toString(), /has no version in service/)
  assert.is((await replay('load')).status, 200)
  assert.is((await replay('uint8-json')).status, 200)
})

test.after(async () => {
  await server.close()
  rmSync(folder, { recursive: true, force: true })
})

test.run()
