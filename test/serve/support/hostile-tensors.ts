/** Requests of the right form whose members, sizes, shapes or elements are not what they must be. */

import type { Datatype } from '../../../src/serve/protocol/datatypes.ts'
import { Random } from '../../../src/util/random.ts'
import { SUM, sumCase, type HostileCase } from './hostile-case.ts'
import { GOOD, withData } from './hostile-json.ts'
import { post } from './raw-http.ts'

/** Datatypes for each of which the attacked server has a model y = x. */
export const ATTACKED_DATATYPES = [
  ...(['FP32', 'FP64', 'FP16', 'BOOL', 'BYTES', 'INT8', 'INT16', 'INT32', 'INT64'] as const),
  ...(['UINT8', 'UINT16', 'UINT32', 'UINT64'] as const),
] satisfies Datatype[]

const VALUES: readonly unknown[] = [
  ...[null, true, false, 0, 1, -1, 1.5, 1e308, 2 ** 53, -(2 ** 63), '', 'x', '1', 'FP32', 'y'],
  ...[[], [1], [null], [[]], ['x'], {}, { a: 1 }, { a: null }, { a: [] }, { name: 'a' }, [{}], [[1, 3]]],
]

type Path = readonly (string | number)[]

/** Where a value may stand, and which of the values above the protocol allows there. */
const MEMBERS: readonly (readonly [Path, (value: unknown) => boolean])[] = [
  [['id'], value => typeof value === 'string'],
  [['parameters'], isParameters],
  [['parameters', 'timeout'], value => Number.isInteger(value) && (value as number) >= 0],
  [['parameters', 'binary_data_output'], value => typeof value === 'boolean'],
  [['inputs'], () => false],
  [['inputs', 0], () => false],
  [['inputs', 0, 'name'], () => false],
  [['inputs', 0, 'shape'], () => false],
  [['inputs', 0, 'shape', 0], value => value === 1],
  [['inputs', 0, 'datatype'], value => value === 'FP32'],
  [['inputs', 0, 'parameters'], isParameters],
  [['inputs', 0, 'parameters', 'binary_data_size'], () => false],
  [['inputs', 0, 'data'], () => false],
  [['inputs', 0, 'data', 0], value => typeof value === 'number' && Math.abs(value) < 1e38],
  [['inputs', 1, 'data', 0], () => false],
  [['outputs'], value => Array.isArray(value) && value.length === 0],
  [['outputs', 0], () => false],
  [['outputs', 0, 'name'], value => value === 'y'],
  [['outputs', 0, 'parameters'], isParameters],
  [['outputs', 0, 'parameters', 'binary_data'], value => typeof value === 'boolean'],
  [['outputs', 0, 'parameters', 'classification'], value => value === 1],
]

function isParameters(value: unknown): boolean {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return false
  return Object.values(value).every(item => ['string', 'number', 'boolean'].includes(typeof item))
}

function withMember(path: Path, value: unknown): unknown {
  const copy = structuredClone(GOOD) as unknown
  let at = copy as Record<string | number, unknown>
  for (const key of path.slice(0, -1)) at = (at[key] ??= {}) as typeof at
  at[path.at(-1)!] = value
  return copy
}

/** A value of every type in every place, and every member left out. */
export function wrongTypes(): HostileCase[] {
  const rows = MEMBERS.flatMap(([path, allows]) =>
    VALUES.map(value => {
      const name = `${path.join('.')} is ${JSON.stringify(value)}`
      return sumCase(name, JSON.stringify(withMember(path, value)), allows(value) ? 'any' : 400)
    }),
  )
  const needed: readonly Path[] = [
    ['inputs'],
    ...['name', 'shape', 'datatype', 'data'].map(key => ['inputs', 0, key]),
    ['outputs', 0, 'name'],
  ]
  const absent = needed.map(path =>
    sumCase(`${path.join('.')} is missing`, JSON.stringify(withMember(path, undefined)), 400),
  )
  return [...rows, ...absent]
}

function identity(
  datatype: Datatype,
  name: string,
  shape: string,
  data: string,
  end: HostileCase['end'] = 400,
) {
  const body = `{"inputs":[{"name":"x","shape":${shape},"datatype":"${datatype}","data":${data}}]}`
  const path = `/v2/models/${datatype.toLowerCase()}/infer`
  return { name: `${datatype} ${name}`, sent: post(path, body), end } satisfies HostileCase
}

const INTEGERS: Partial<Record<Datatype, readonly [bigint, bigint]>> = Object.fromEntries(
  [8n, 16n, 32n, 64n].flatMap(bits => [
    [`UINT${bits}`, [0n, 2n ** bits - 1n]],
    [`INT${bits}`, [-(2n ** (bits - 1n)), 2n ** (bits - 1n) - 1n]],
  ]),
)

/** Elements that are not of the type, one too small, one too large, and shapes that the data does not have. */
export function wrongElements(): HostileCase[] {
  const rows: HostileCase[] = []
  for (const datatype of ATTACKED_DATATYPES) {
    const good = { BYTES: '"a"', BOOL: 'true' }[datatype as string] ?? '1'
    const many = (count: number) => Array.from({ length: count }, () => good).join(',')
    const wrong: readonly (readonly [string, string])[] = [
      ...[0, 1, 3, 5, 1000].map(count => ['[2,2]', `[${many(count)}]`] as const),
      ...[`[[${good}],[${good},${good}]]`, `[[${many(4)}]]`, `[[${good}],[${good}],[${good}],[${good}]]`].map(
        data => ['[2,2]', data] as const,
      ),
      ...[`[${good},[${many(3)}]]`, `[[[${many(2)}],[${many(2)}]]]`, good, '{}', 'null', '""', 'true'].map(
        data => ['[2,2]', data] as const,
      ),
      ...['null', '{}', '[]', '"x', 'x', 'NaN', '{"a":1}', '1e999', '[[[1]]]'].map(
        item => ['[1,2]', `[${good},${item}]`] as const,
      ),
      ...[
        '[4]',
        '[]',
        '[2,2,1]',
        '[-2,-2]',
        '[2.5,2]',
        '[1e308,1]',
        '["2",2]',
        '[4294967296,4294967296]',
      ].map(shape => [shape, `[${many(4)}]`] as const),
      ...['[9007199254740991,9007199254740991]', '[0,9007199254740991]', '[9007199254740991,0]'].map(
        shape => [shape, '[]'] as const,
      ),
      ...['[67108864,64]', '[0,4194305]', '[1,1000000000]', '[9007199254740993,0]', '[1e15,1]'].map(
        shape => [shape, '[]'] as const,
      ),
      ...[33, 1000, 60_000].map(
        rank => [`[${Array.from({ length: rank }, () => 1).join()}]`, `[${good}]`] as const,
      ),
      ...[1000, 60_000].map(rank => [`[${Array.from({ length: rank }, () => 0).join()}]`, '[]'] as const),
    ]
    wrong.forEach(([shape, data], i) =>
      rows.push(identity(datatype, `${i}: ${data.slice(0, 30)} as ${shape.slice(0, 30)}`, shape, data)),
    )
    const range = INTEGERS[datatype]
    if (range) {
      const [least, most] = range
      const items = [
        `${least - 1n}`,
        `${most + 1n}`,
        `${most}0`,
        '0.5',
        '1e-1',
        '1e30',
        `${most}.5`,
        `1${'0'.repeat(400)}`,
      ]
      for (const item of items) rows.push(identity(datatype, `element ${item}`, '[1,1]', `[${item}]`))
    }
  }
  for (const item of [
    '"\\ud800"',
    '"\\x"',
    '"\\u12"',
    '"\t"',
    '"\\',
    "'a'",
    '1',
    'true',
    '[["a"]]',
    '"a"b',
  ]) {
    rows.push(identity('BYTES', `element ${item}`, '[1,1]', `[${item}]`))
  }
  for (const item of ['2', '-1', '0.5', 'True', 'TRUE', '"true"', 'tru', 'falsey']) {
    rows.push(identity('BOOL', `element ${item}`, '[1,1]', `[${item}]`))
  }
  return rows
}

/** A binary request: JSON of this `binary_data_size`, tensors and header as given. */
function binary(
  name: string,
  size: string,
  tensor: Uint8Array,
  { header, end = 400, datatype = 'FP32', shape = '[1,3]' }: Partial<Binary> = {},
): HostileCase {
  const json = `{"inputs":[{"name":"x","shape":${shape},"datatype":"${datatype}","parameters":{"binary_data_size":${size}}}]}`
  const body = Buffer.concat([Buffer.from(json), tensor])
  const headers = { 'Inference-Header-Content-Length': header ?? String(Buffer.byteLength(json)) }
  return { name, sent: post(`/v2/models/${datatype.toLowerCase()}/infer`, body, headers), end }
}

interface Binary {
  readonly header: string
  readonly end: HostileCase['end']
  readonly datatype: Datatype
  readonly shape: string
}

const u32 = (...values: number[]) => Buffer.from(Uint32Array.from(values).buffer)

/** Sizes that are not those of the tensors, headers that are not those of the JSON, and BYTES that lie about themselves. */
export function wrongSizes(seed: number): HostileCase[] {
  const twelve = Buffer.alloc(12)
  const sizes = [
    ...['0', '11', '13', '24', '-1', '-12', '12.5', '1e308', '1e1', '9007199254740991', '9007199254740993'],
    ...[
      '"12"',
      'true',
      'null',
      '[12]',
      '{}',
      '4294967308',
      '18446744073709551628',
      '-0',
      '1e-5',
      '012',
      '0xc',
    ],
  ]
  const headers = [
    ...[
      '0',
      '1',
      '2',
      '100000',
      '4294967296',
      '99999999999',
      '-1',
      '1.5',
      '1e2',
      '0x10',
      'abc',
      '',
      ' ',
      '+5',
    ],
    ...['5, 5', '18446744073709551616', '٣', '5;', '00000000000005', 'NaN', 'Infinity', '9007199254740993'],
  ]
  const lies: readonly (readonly [string, Uint8Array])[] = [
    ['no elements', Buffer.alloc(0)],
    ['one of three', u32(0)],
    ['a length of 4 GB', u32(0, 0, 0xffffffff)],
    ['a length one too long', Buffer.concat([u32(0, 0, 2), Buffer.from('a')])],
    ['a byte too many', Buffer.concat([u32(0, 0, 0), Buffer.from('a')])],
    ['four elements', u32(0, 0, 0, 0)],
    ['the first takes all', Buffer.concat([u32(8), Buffer.alloc(8)])],
    ['half a length', Buffer.concat([u32(0, 0), Buffer.alloc(3)])],
  ]
  const rows = [
    ...sizes.map(size => binary(`binary_data_size ${size}`, size, twelve)),
    ...headers.map(header => binary(`header of ${header} bytes`, '12', twelve, { header })),
    ...lies.map(([name, data]) =>
      binary(`BYTES: ${name}`, String(data.byteLength), data, { datatype: 'BYTES' as const }),
    ),
    ...[2, 255].map(byte =>
      binary(`BOOL of ${byte}`, '3', Buffer.of(0, 1, byte), { datatype: 'BOOL', shape: '[1,3]' }),
    ),
    ...['[3,1000000000]', '[0,3]', '[]', '[3]', '[1,3,1]', '[-1,3]', '[1048577,4]'].map(shape =>
      binary(`shape ${shape} of 12 bytes`, '12', twelve, { shape }),
    ),
    binary('a million BYTES of nothing', '4000000', Buffer.alloc(4_000_000), {
      ...{ datatype: 'BYTES', shape: '[1000000,1]' },
    }),
    sumCase('a raw request for a model of two inputs', twelve, 400, {
      'Inference-Header-Content-Length': '0',
    }),
    sumCase('both data and binary_data_size', withData('[1,2,3],"parameters":{"binary_data_size":12}'), 400),
  ]
  const random = Random.of(seed, 3)
  const any = Array.from({ length: 150 }, (_, i): HostileCase => {
    const bytes = Buffer.from(Array.from({ length: random.integer(400) }, () => random.integer(256)))
    const header = String(random.integer(bytes.length + 2) + 1)
    return {
      name: `random bytes (seed ${seed}, ${i})`,
      sent: post(SUM, bytes, { 'Inference-Header-Content-Length': header }),
      end: 400,
    }
  })
  return [...rows, ...any]
}

/** Parameters that ask for what cannot be, or for much. */
export function hostileParameters(): HostileCase[] {
  const rest = JSON.stringify(GOOD)
    .replace(/"parameters":{[^}]*},/, '')
    .slice(1)
  const request = ['-1', '1.5', '1e400', '"1"', 'true', 'null', '[]', '1e308', '9007199254740993'].map(
    value =>
      sumCase(
        `timeout ${value}`,
        `{"parameters":{"timeout":${value}},${rest}`,
        /^(1e308|9)/.test(value) ? 'any' : 400,
      ),
  )
  const harmless = [
    '"priority":-1',
    '"priority":1e308',
    '"priority":"x"',
    '"sequence_id":1e300',
    '"timeout":1',
  ].map(text => sumCase(`parameter ${text}`, `{"parameters":{${text}},${rest}`, 'any'))
  const classes = [
    '0',
    '-1',
    '1.5',
    '1e308',
    '1000001',
    '"3"',
    'true',
    'null',
    '[1]',
    '{}',
    '9007199254740993',
  ].map(value =>
    sumCase(
      `classification ${value}`,
      JSON.stringify(GOOD).replace('"binary_data":false', `"classification":${value}`),
      400,
    ),
  )
  const ofBytes = identity('BYTES', 'classes', '[1,1]', '["a"]')
  const outputs = ['"z"', '"a"', '""', '"__proto__"', '"y"},{"name":"y"', `"${'y'.repeat(10_000)}"`].map(
    name => sumCase(`output ${name.slice(0, 20)}`, JSON.stringify(GOOD).replace('"y"', name), 400),
  )
  const sent = post(
    '/v2/models/bytes/infer',
    '{"inputs":[{"name":"x","shape":[1,1],"datatype":"BYTES","data":["a"]}],"outputs":[{"name":"y","parameters":{"classification":1}}]}',
  )
  return [
    ...request,
    ...harmless,
    ...classes,
    ...outputs,
    { ...ofBytes, name: 'classes of BYTES', sent, end: 400 },
  ]
}
