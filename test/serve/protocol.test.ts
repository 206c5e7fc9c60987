/** Requests and responses as bytes: JSON read without objects, binary data, classes. */

import fc from 'fast-check'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { decodeStrings, encodeStrings } from '../../src/serve/protocol/bytes-elements.ts'
import { classify } from '../../src/serve/protocol/classification.ts'
import type { Datatype } from '../../src/serve/protocol/datatypes.ts'
import { tensorOfJson } from '../../src/serve/protocol/json-elements.ts'
import { scanRequest } from '../../src/serve/protocol/json-scan.ts'
import { decodeRequest } from '../../src/serve/protocol/request.ts'
import { HeaderReader } from '../../src/serve/protocol/request-header.ts'
import { encodeResponse } from '../../src/serve/protocol/response.ts'
import type { Signature } from '../../src/serve/protocol/signature.ts'
import { Tensor } from '../../src/tensor/tensor.ts'

const LIMITS = { headerBytes: 4096, depth: 16, rank: 8, elements: 1e6, decodedBytes: 1e6 }
const bytes = (text: string) => new TextEncoder().encode(text)

function read(json: string, datatype: Datatype, dims: readonly number[]): Tensor {
  const data = bytes(json)
  return tensorOfJson(data, { start: 0, end: data.length }, datatype, dims, 'input "x"')
}

const refusal = (work: () => unknown): string => {
  try {
    work()
  } catch (error) {
    return String(error)
  }
  return 'no error'
}

test('doubles are read as JSON.parse reads them, in any notation', () => {
  const notation = fc.tuple(
    fc.double({ noNaN: true, noDefaultInfinity: true }),
    fc.integer({ min: 0, max: 4 }),
  )
  const texts = notation.map(([value, form]) => {
    if (form === 1) return value.toExponential()
    if (form === 2 && Math.abs(value) < 1e20) return value.toFixed(6)
    if (form === 3) return value.toPrecision(17)
    if (form === 4) return value.toExponential().toUpperCase()
    return JSON.stringify(value)
  })
  fc.assert(
    fc.property(fc.array(texts, { minLength: 1, maxLength: 40 }), numbers => {
      const json = `[ ${numbers.join(' ,\n')} ]`
      const expected = JSON.parse(json) as number[]
      assert.equal(read(json, 'FP64', [numbers.length]).toNumbers(), expected)
      const within = expected.every(value => Math.abs(value) <= 3.4028235677973362e38)
      const single = () => read(json, 'FP32', [numbers.length]).toNumbers()
      if (within) assert.equal(single(), Array.from(Float32Array.from(expected)))
      else assert.match(refusal(single), /range of FP32/)
    }),
    { numRuns: 500 },
  )
})

test('whole numbers keep all digits and stay in their range', () => {
  const ranges: readonly (readonly [Datatype, bigint, bigint])[] = [
    ['INT64', -(2n ** 63n), 2n ** 63n - 1n],
    ['UINT64', 0n, 2n ** 64n - 1n],
    ['INT32', -(2n ** 31n), 2n ** 31n - 1n],
    ['UINT32', 0n, 2n ** 32n - 1n],
    ['INT16', -32768n, 32767n],
    ['UINT16', 0n, 65535n],
    ['INT8', -128n, 127n],
    ['UINT8', 0n, 255n],
  ]
  for (const [datatype, least, most] of ranges) {
    fc.assert(
      fc.property(fc.array(fc.bigInt({ min: least, max: most }), { minLength: 1, maxLength: 20 }), values => {
        const found = read(`[${values.join(',')}]`, datatype, [values.length]).view()
        assert.equal(Array.from(found as BigInt64Array, BigInt), values)
      }),
      { numRuns: 50 },
    )
    for (const outside of [least - 1n, most + 1n]) {
      assert.match(
        refusal(() => read(`[${outside}]`, datatype, [1])),
        new RegExp(`from ${least} to ${most}`),
      )
    }
  }
  assert.equal(read('[1.0, 2e2, -0]', 'INT32', [3]).toNumbers(), [1, 200, 0])
  assert.match(
    refusal(() => read('[1.5]', 'INT32', [1])),
    /whole number.*"1.5"/,
  )
  assert.equal(read('[true,false,1,0]', 'BOOL', [4]).toNumbers(), [1, 0, 1, 0])
})

test('data is flat, or nested as the shape says', () => {
  for (const json of ['[1,2,3,4,5,6]', '[[1,2,3],[4,5,6]]', ' [ [1,2,3] ,[4, 5,6 ] ] ']) {
    assert.equal(read(json, 'FP32', [2, 3]).toNumbers(), [1, 2, 3, 4, 5, 6])
  }
  assert.equal(read('[]', 'FP32', [0, 3]).toNumbers(), [])
  assert.equal(read('[[],[]]', 'FP32', [2, 0]).toNumbers(), [])
  assert.equal(read('[7]', 'FP32', []).toNumbers(), [7])
  const wrong = [
    ['[[1,2],[3,4],[5,6]]', 'an array of 2 at depth 2'],
    ['[[1,2,3],[4,5]]', 'an array of 2 at depth 2'],
    ['[[1,2,3],4,5,6]', 'different depths'],
    ['[[[1],[2],[3]],[[4],[5],[6]]]', 'nested 3 deep'],
    ['[1,2,3,4,5]', '5 elements'],
    ['[1,2,3,4,5,6,7]', 'more than 6'],
    ['6', 'no array'],
    ['[1,2,3,4,5,]', 'not well-formed'],
    ['[,1,2,3,4,5]', 'not well-formed'],
    ['[1 2,3,4,5,6]', 'not well-formed'],
    ['[1,2,3,4,5,6', 'not well-formed'],
    ['[1,2,3,4,5,null]', 'expected a number, found'],
    ['[1,2,3,4,5,NaN]', 'expected a number, found'],
    ['[1,2,3,4,5,Infinity]', 'expected a number, found'],
    ['[1,2,3,4,5,01]', 'expected a number, found'],
    ['[1,2,3,4,5,1.]', 'expected a number, found'],
    ['[1,2,3,4,5,.5]', 'expected a number, found'],
    ['[1,2,3,4,5,+1]', 'expected a number, found'],
    ['[1,2,3,4,5,-]', 'expected a number, found'],
    ['[1,2,3,4,5,1e]', 'expected a number, found'],
    ['[1,2,3,4,5,0x1]', 'expected a number, found'],
    ['[1,2,3,4,5,"6"]', 'expected a number, found'],
    ['[1,2,3,4,5,{}]', 'not well-formed'],
  ] as const
  for (const [json, message] of wrong) {
    const found = refusal(() => read(json, 'FP32', [2, 3]))
    assert.ok(found.includes(message), `${json}: ${found}`)
  }
})

test('strings of any text, in JSON and as bytes', () => {
  fc.assert(
    fc.property(fc.array(fc.string({ unit: 'grapheme' }), { maxLength: 8 }), texts => {
      const decode = (strings: unknown) =>
        (strings as Uint8Array[]).map(string => new TextDecoder().decode(string))
      assert.equal(decode(read(JSON.stringify(texts), 'BYTES', [texts.length]).data), texts)
      const encoded = encodeStrings(texts.map(bytes))
      assert.equal(decode(decodeStrings(encoded, texts.length, 'x')), texts)
    }),
  )
  // Two elements, "ab" and "": 2 0 0 0 a b 0 0 0 0.
  assert.equal([...encodeStrings([bytes('ab'), bytes('')])], [2, 0, 0, 0, 97, 98, 0, 0, 0, 0])
  assert.match(
    refusal(() => decodeStrings(Uint8Array.of(9, 0, 0, 0, 65), 1, 'x')),
    /9 bytes, 1 are left/,
  )
  assert.match(
    refusal(() => decodeStrings(Uint8Array.of(0, 0, 0, 0, 0, 0, 0, 0), 1, 'x')),
    /4 bytes are left/,
  )
  assert.match(
    refusal(() => decodeStrings(new Uint8Array(8), 2 ** 31, 'x')),
    /expected 2147483648/,
  )
})

test('what is left of a request without its data is what JSON.parse makes of it', () => {
  const data = fc.oneof(fc.array(fc.integer()), fc.array(fc.array(fc.double({ noNaN: true }))), fc.string())
  const input = fc.record({ name: fc.string(), shape: fc.array(fc.nat()), data, other: fc.jsonValue() })
  const request = fc.record({
    id: fc.string(),
    inputs: fc.array(input),
    data: fc.jsonValue(),
    last: fc.jsonValue(),
  })
  fc.assert(
    fc.property(request, fc.integer({ min: 0, max: 2 }), (value, indent) => {
      const json = bytes(JSON.stringify(value, null, indent))
      const { value: found, spans } = scanRequest(json, { headerBytes: 1e6, depth: 100 })
      const expected = structuredClone(value) as { inputs: { data: unknown }[] }
      const places = expected.inputs.map(entry => entry.data)
      expected.inputs.forEach((entry, i) => (entry.data = i))
      assert.equal(found, JSON.parse(JSON.stringify(expected)))
      const texts = spans.map(({ start, end }) => new TextDecoder().decode(json.subarray(start, end)))
      assert.equal(
        texts.map(text => JSON.parse(text) as unknown),
        JSON.parse(JSON.stringify(places)),
      )
    }),
    { numRuns: 500 },
  )
})

const SIGNATURE: Signature = {
  inputs: [
    { name: 'a', datatype: 'FP32', dtype: 'float32', shape: [null, 2] },
    { name: 'b', datatype: 'INT64', dtype: 'int64', shape: [null] },
  ],
  outputs: [
    { name: 'y', datatype: 'FP32', dtype: 'float32', shape: [null, 2] },
    { name: 'z', datatype: 'FP16', dtype: 'float16', shape: null },
  ],
}

const READER = new HeaderReader(SIGNATURE)

test('JSON and binary tensors in one request', () => {
  const header = bytes(
    JSON.stringify({
      id: '7',
      parameters: { binary_data_output: true, timeout: 1500 },
      inputs: [
        { name: 'b', datatype: 'INT64', shape: [1], data: [9007199254740993n.toString()].map(Number) },
        { name: 'a', datatype: 'FP32', shape: [1, 2], parameters: { binary_data_size: 8 } },
      ],
      outputs: [{ name: 'y', parameters: { binary_data: false } }, { name: 'z' }],
    }).replace('9007199254740992', '9007199254740993'),
  )
  const body = new Uint8Array(header.length + 8)
  body.set(header)
  body.set(new Uint8Array(Float32Array.of(0.5, -2).buffer), header.length)
  const { id, inputs, outputs, timeout } = decodeRequest(body, header.length, READER, LIMITS)
  assert.is(id, '7')
  assert.is(timeout, 1.5)
  assert.equal(inputs.get('a')!.toNumbers(), [0.5, -2])
  assert.equal(Array.from(inputs.get('b')!.view() as BigInt64Array), [9007199254740993n])
  assert.equal(outputs, [
    { name: 'y', binary: false, classes: 0 },
    { name: 'z', binary: true, classes: 0 },
  ])
})

test('a header that comes again goes with the tensors behind it, and with its own id', () => {
  const reader = new HeaderReader(SIGNATURE)
  const request = (id: string | null, values: readonly number[], extra = 0) => {
    const header = bytes(
      JSON.stringify({
        ...(id === null ? {} : { id }),
        inputs: [
          { name: 'a', datatype: 'FP32', shape: [1, 2], parameters: { binary_data_size: 8 } },
          { name: 'b', datatype: 'INT64', shape: [1], parameters: { binary_data_size: 8 } },
        ],
      }),
    )
    const body = new Uint8Array(header.length + 16 + extra)
    body.set(header)
    body.set(new Uint8Array(Float32Array.from(values).buffer), header.length)
    body.set(new Uint8Array(BigInt64Array.of(BigInt(values[0]!)).buffer), header.length + 8)
    return decodeRequest(body, header.length, reader, LIMITS)
  }
  for (let i = 0; i < 200; i++) {
    const { id, inputs } = request(null, [i, -i])
    assert.is(id, null)
    assert.equal(inputs.get('a')!.toNumbers(), [i, -i])
    assert.equal(Array.from(inputs.get('b')!.view() as BigInt64Array), [BigInt(i)])
    assert.is(request(String(i), [i, 0]).id, String(i))
  }
  // Known or not, what is behind it must have its size.
  assert.match(
    refusal(() => request(null, [1, 2], 3)),
    /3 bytes behind the last tensor/,
  )
})

test('what is wrong with a request is said by name', () => {
  const a = { name: 'a', datatype: 'FP32', shape: [1, 2], data: [1, 2] }
  const b = { name: 'b', datatype: 'INT64', shape: [1], data: [1] }
  const rows: readonly (readonly [unknown, string])[] = [
    [{}, '"inputs" is missing'],
    [[], 'not valid'],
    [{ inputs: [a] }, 'missing: "b"'],
    [{ inputs: [a, b, a] }, 'input "a" is given twice'],
    [{ inputs: [a, b, { ...a, name: 'c' }] }, 'unexpected inference input "c", the model has "a", "b"'],
    [{ inputs: [{ ...a, datatype: 'FP64' }, b] }, 'expected datatype FP32, found FP64'],
    [{ inputs: [{ ...a, datatype: 'FP7' }, b] }, '"/inputs/0/datatype"'],
    [{ inputs: [{ ...a, shape: [1, 3] }, b] }, 'expected shape [-1,2], found [1,3]'],
    [{ inputs: [{ ...a, shape: [1] }, b] }, 'expected shape [-1,2], found [1]'],
    [{ inputs: [{ ...a, shape: [-1, 2] }, b] }, '"/inputs/0/shape/0"'],
    [{ inputs: [{ ...a, shape: [1.5, 2] }, b] }, '"/inputs/0/shape/0"'],
    [{ inputs: [{ ...a, shape: [2 ** 40, 2] }, b] }, 'has more than 1000000 elements'],
    [{ inputs: [{ ...a, shape: [200_000, 2] }, b] }, 'has 1600000 bytes, the most is 1000000'],
    [{ inputs: [{ ...a, data: undefined }, b] }, 'input "a" has no data'],
    [{ inputs: [{ ...a, parameters: { binary_data_size: 8 } }, b] }, 'both "data" and "binary_data_size"'],
    [{ inputs: [a, b], outputs: [{ name: 'q' }] }, 'unexpected inference output "q"'],
    [{ inputs: [a, b], outputs: [{ name: 'y' }, { name: 'y' }] }, 'asked for twice'],
    [
      { inputs: [a, b], outputs: [{ name: 'y', parameters: { classification: 0 } }] },
      'parameter classification',
    ],
    [{ inputs: [a, b], parameters: { binary_data_output: 1 } }, 'parameter binary_data_output'],
    [{ inputs: [a, b], parameters: { timeout: -1 } }, 'parameter timeout'],
    [{ inputs: [a, b], id: 7 }, '"/id"'],
  ]
  for (const [request, message] of rows) {
    const found = refusal(() => decodeRequest(bytes(JSON.stringify(request)), null, READER, LIMITS))
    assert.ok(found.includes(message), `${JSON.stringify(request)}: ${found}`)
  }
  const deep = `{"inputs":[{"name":"a","data":${'['.repeat(100)}`
  assert.match(
    refusal(() => decodeRequest(bytes(deep), null, READER, LIMITS)),
    /nested deeper than 16/,
  )
  const long = JSON.stringify({ inputs: [], id: 'x'.repeat(5000) })
  assert.match(
    refusal(() => decodeRequest(bytes(long), null, READER, LIMITS)),
    /the most is 4096/,
  )
  assert.match(
    refusal(() =>
      decodeRequest(Uint8Array.of(0x7b, 0x22, 0xff, 0x22, 0x3a, 0x31, 0x7d), null, READER, LIMITS),
    ),
    /expected UTF-8/,
  )
})

test('a response in JSON has every digit of a whole number, null for what is no number, no FP16', () => {
  const answerer = { name: 'm', version: '3', batched: true, labels: ['cat', 'dog'] }
  const results = new Map([
    ['i', Tensor.of('int64', [2], [9007199254740993n, -1n])],
    ['f', Tensor.of('float32', [3], [0.1, NaN, Infinity])],
    ['b', Tensor.of('bool', [2], [1, 0])],
    ['s', new Tensor('string', [1], [bytes('"é\u0000')])],
  ])
  const all = [...results.keys()].map(name => ({ name, binary: false, classes: 0 }))
  const { headerLength, parts } = encodeResponse(results, all, answerer, 'id "1"')
  assert.is(headerLength, null)
  assert.is(parts.length, 1)
  assert.is(
    new TextDecoder().decode(parts[0]),
    '{"model_name":"m","model_version":"3","id":"id \\"1\\"","outputs":[' +
      '{"name":"i","datatype":"INT64","shape":[2],"data":[9007199254740993,-1]},' +
      `{"name":"f","datatype":"FP32","shape":[3],"data":[${Math.fround(0.1)},null,null]},` +
      '{"name":"b","datatype":"BOOL","shape":[2],"data":[true,false]},' +
      '{"name":"s","datatype":"BYTES","shape":[1],"data":["\\"é\\u0000"]}]}',
  )
  const half = new Map([['h', Tensor.of('float16', [1], [1])]])
  const asked = (binary: boolean) => [{ name: 'h', binary, classes: 0 }]
  assert.match(
    refusal(() => encodeResponse(half, asked(false), answerer, null)),
    /FP16 has no JSON form/,
  )
  const binary = encodeResponse(half, asked(true), answerer, null)
  assert.is(binary.headerLength, binary.parts[0]!.byteLength)
  assert.equal([...binary.parts[1]!], [0x00, 0x3c])
})

test('classes: the largest first, of each sample, the first of equal ones first, NaN last', () => {
  const text = (tensor: Tensor) =>
    (tensor.data as readonly Uint8Array[]).map(string => new TextDecoder().decode(string))
  const scores = Tensor.of('float32', [2, 3], [0.25, 0.5, 0.25, NaN, -1, 2])
  const two = classify(scores, 2, true, ['a', 'b'], 'y')
  assert.equal(two.dims, [2, 2])
  assert.equal(text(two), ['0.500000:1:b', '0.250000:0:a', '2.000000:2', '-1.000000:1:b'])
  assert.equal(classify(scores, 99, true, null, 'y').dims, [2, 3])
  assert.equal(text(classify(scores, 99, true, null, 'y')).at(-1), 'NaN:0')
  assert.equal(text(classify(Tensor.of('int64', [3], [5n, 7n, 6n]), 2, false, null, 'y')), [
    '7.000000:1',
    '6.000000:2',
  ])
  const many = Tensor.of(
    'float32',
    [1, 1000],
    Array.from({ length: 1000 }, (_, i) => (i * 7919) % 1000),
  )
  const expected = Array.from({ length: 1000 }, (_, i) => i)
    .sort((a, b) => ((b * 7919) % 1000) - ((a * 7919) % 1000))
    .slice(0, 5)
  assert.equal(
    text(classify(many, 5, true, null, 'y')).map(line => Number(line.split(':')[1])),
    expected,
  )
})

test.run()
