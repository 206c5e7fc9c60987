/** Damaged and strange JSON. What is well-formed is decided by the runtime's own parser, and by its reading of the data. */

import * as assert from 'uvu/assert'
import { Random } from '../../../src/util/random.ts'
import { sumCase, type HostileCase } from './hostile-case.ts'
import type { RawAnswer } from './raw-http.ts'

export const GOOD = {
  id: 'a"\\é',
  parameters: { priority: 1, note: 'x' },
  inputs: [
    { name: 'a', shape: [1, 3], datatype: 'FP32', data: [1, -2.5, 3e2] },
    { name: 'b', shape: [1, 3], datatype: 'FP32', parameters: {}, data: [[10, 20, 30]] },
  ],
  outputs: [{ name: 'y', parameters: { binary_data: false } }],
}

/** An input `a` with this text as its data, and one `b` of ones. */
export function withData(data: string, shape = '[1,3]'): string {
  return `{"inputs":[{"name":"a","shape":${shape},"datatype":"FP32","data":${data}},{"name":"b","shape":[1,3],"datatype":"FP32","data":[1,1,1]}]}`
}

/** The sum that the runtime's parser sees in a request; null where it sees no request. */
function expectedSum(bytes: Uint8Array): number[] | null {
  let value: { inputs?: ({ name?: unknown; data?: unknown } | null)[] } | null
  try {
    const text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes)
    value = JSON.parse(text) as typeof value
  } catch {
    return null
  }
  const { inputs } = value ?? {}
  const of = (name: string) => {
    const data = Array.isArray(inputs) ? inputs.findLast(input => input?.name === name)?.data : []
    return Array.isArray(data) ? data.flat(9).map(Number) : []
  }
  const [a, b] = [of('a'), of('b')]
  return a.map((x, i) => Math.fround(Math.fround(x) + Math.fround(b[i]!)))
}

/** Refused where it is no JSON; where it is, an answer has the numbers that are in it. */
function judged(name: string, body: string | Uint8Array): HostileCase {
  const bytes = typeof body === 'string' ? Buffer.from(body) : body
  const sum = expectedSum(bytes)
  if (sum === null) return sumCase(name, bytes, 'refused')
  const verify = ({ body }: RawAnswer) => {
    const { outputs } = JSON.parse(body.toString()) as { outputs: [{ data: number[] }] }
    assert.equal(outputs[0].data.map(Math.fround), sum, name)
  }
  return { ...sumCase(name, bytes, 'any'), verify }
}

/** Cut after every byte. */
export function truncations(): HostileCase[] {
  const bytes = Buffer.from(JSON.stringify(GOOD))
  return Array.from({ length: bytes.length }, (_, i) => judged(`cut after ${i} bytes`, bytes.subarray(0, i)))
}

const TOKEN = /"(?:[^"\\]|\\.)*"|[[\]{},:]|[^[\]{},:"]+/g
const WRONG_TOKENS = [
  ...['NaN', '-Infinity', 'undefined', 'True', 'nul', "'x'", '"x', '"\\x"', '"\\u12"', '"\t"', '`x`'],
  ...['01', '+1', '.5', '1.', '1e', '0x10', '1_0', '--1', '1n', '//c\n1', '/*c*/1', '#', '\u00a0', '\ufeff'],
  ...[',', ':', '{', '}', '[', ']', '', '1 2', '""""', '\0', '\\', 'a:1', '{"a":1}', '[]', 'null', '1e999'],
]

/** Every token replaced by a wrong one, a share of all pairs. */
export function wrongTokens(seed: number, count: number): HostileCase[] {
  const tokens = JSON.stringify(GOOD).match(TOKEN)!
  const random = Random.of(seed, 1)
  return Array.from({ length: count }, (_, i) => {
    const at = i % tokens.length
    const token = WRONG_TOKENS[random.integer(WRONG_TOKENS.length)]!
    const text = [...tokens.slice(0, at), token, ...tokens.slice(at + 1)].join('')
    return judged(`token ${at} as ${JSON.stringify(token)} (seed ${seed}, ${i})`, text)
  })
}

/** Bytes changed, put in, taken out and doubled. */
export function mutations(seed: number, count: number): HostileCase[] {
  const good = Buffer.from(JSON.stringify(GOOD))
  return Array.from({ length: count }, (_, i) => {
    const random = Random.of(seed, 2, i)
    let bytes = good
    for (let round = random.integer(3); round >= 0; round--) {
      const at = random.integer(bytes.length)
      const [before, after] = [bytes.subarray(0, at), bytes.subarray(at)]
      const byte = Buffer.of(
        random.integer(2) ? random.integer(256) : '[]{}",:0e-.\\u \n'.charCodeAt(random.integer(16)),
      )
      const length = 1 + random.integer(12)
      bytes = [
        () => Buffer.concat([before, byte, after.subarray(1)]),
        () => Buffer.concat([before, byte, after]),
        () => Buffer.concat([before, after.subarray(length)]),
        () => Buffer.concat([before, after.subarray(0, length), after]),
      ][random.integer(4)]!()
    }
    return judged(`mutation (seed ${seed}, ${i})`, bytes)
  })
}

const nested = (depth: number, inner = '') => '['.repeat(depth) + inner + ']'.repeat(depth)
const objects = (depth: number) => '{"a":'.repeat(depth) + '1' + '}'.repeat(depth)

/** Nesting, repeated keys, and numbers and texts at the edge. */
export function strangeJson(): HostileCase[] {
  const good = JSON.stringify(GOOD)
  const rest = good.slice(1)
  const deep = [100, 1000, 100_000].flatMap(depth =>
    [nested(depth), nested(depth, '1'), '['.repeat(depth), objects(depth), '{"a":'.repeat(depth)].flatMap(
      (text, i): HostileCase[] => [
        sumCase(`nesting ${depth} ${i} at the root`, text, 400),
        sumCase(`nesting ${depth} ${i} in data`, withData(text), 400),
        sumCase(`nesting ${depth} ${i} in shape`, withData('[1,2,3]', text), 400),
        sumCase(`nesting ${depth} ${i} in parameters`, `{"parameters":${text},${rest}`, 400),
        sumCase(`nesting ${depth} ${i} in a parameter`, `{"parameters":{"a":${text}},${rest}`, 400),
        sumCase(`nesting ${depth} ${i} in an unknown member`, `{"unknown":${text},${rest}`, 400),
        sumCase(`nesting ${depth} ${i} in inputs`, `{"inputs":${text}}`, 400),
        sumCase(
          `nesting ${depth} ${i} in outputs`,
          good.replace('[{"name":"y"', `[${text},{"name":"y"`),
          400,
        ),
      ],
    ),
  )
  const texts: readonly (readonly [string, string | Uint8Array])[] = [
    ['nothing', ''],
    ['white space', ' \r\n\t '],
    ['a byte order mark', `\ufeff${good}`],
    ['UTF-16', Buffer.from(good, 'utf16le')],
    ['two documents', good + good],
    ['a line behind it', `${good}\n{}`],
    ['a zero byte behind it', `${good}\0`],
    ['a comment', `/* */${good}`],
    ['a line comment', `${good}// x`],
    ['a comma too many', good.replace(/}$/, ',}')],
    ['the member data without a value', withData('')],
    ['no value for an empty tensor', withData('', '[0,3]')],
    ['two arrays', withData('[1,2] [3]')],
    ['inputs twice', good.replace(/}$/, ',"inputs":[]}')],
    ['inputs twice, the first of no use', `{"inputs":[{"data":[[[1]]]}],${rest}`],
    ['data twice', withData('[1,2],"data":[1,2,3]')],
    ['data twice, once escaped', withData('[9,9,9],"d\\u0061ta":[1,2,3]')],
    ['inputs escaped', good.replace('"inputs"', '"inp\\u0075ts"')],
    ['__proto__ as a member', `{"__proto__":{"inputs":[]},${rest}`],
    ['__proto__ as a parameter', `{"parameters":{"__proto__":1,"constructor":2},${rest}`],
    ['a key of 100 kB', `{"${'k'.repeat(100_000)}":1,${rest}`],
    ['20 000 keys', `{${Array.from({ length: 20_000 }, (_, i) => `"k${i}":${i},`).join('')}${rest}`],
    ['10 000 empty inputs', `{"inputs":[${'{},'.repeat(10_000)}{}]}`],
    ['the input a 1000 times', `{"inputs":[${`${JSON.stringify(GOOD.inputs[0])},`.repeat(1000)}{}]}`],
    ['an id of 100 kB', `{"id":"${'i'.repeat(100_000)}",${rest.replace(/"id":"[^,]*,/, '')}`],
    ['a lone surrogate in the id', `{"id":"\\ud800",${rest.replace(/"id":"[^,]*,/, '')}`],
    ['a lone surrogate as a name', good.replace('"a"', '"\\udfff"')],
    ['a zero in a name', good.replace('"a"', '"a\\u0000"')],
    ['bytes that are no UTF-8', Buffer.from(good.replace('é', 'é'), 'latin1')],
    ['an overlong slash', Buffer.concat([Buffer.from('{"id":"'), Buffer.of(0xc0, 0xaf), Buffer.from('"}')])],
    [
      'a UTF-8 surrogate',
      Buffer.concat([Buffer.from('{"id":"'), Buffer.of(237, 160, 128), Buffer.from('"}')]),
    ],
    ['a character cut in two', Buffer.concat([Buffer.from('{"id":"'), Buffer.of(0xe2, 0x82)])],
  ]
  const digits = '1'.repeat(5000)
  const numbers = [
    ...['1e400', '-1e400', '1e99999999999999999999', '3.5e38', '-3.4028236e38', digits, `0.${digits}x`],
    ...[`0.${digits}.1`, `0.${'0'.repeat(2000)}1e2001`, '1e', '1e+', '0e', '00', '-', '- 1', '1 .5', '1.e3'],
    ...[
      'NaN',
      'Infinity',
      '-Infinity',
      'nan',
      'inf',
      'null',
      'true',
      '"1"',
      '{}',
      '[]',
      '0x1',
      '1f',
      '١',
      '1,',
    ],
    ...['1d5', '1__1', '1e5e5', '1.2.3', '+1', "'1'", '\u20281', '1\u00a0', '\\u0031', '1/2', '1;', '1\0'],
  ]
  return [
    ...deep,
    ...texts.map(([name, body]) => judged(name, body)),
    ...numbers.map(number => sumCase(`the number ${number.slice(0, 20)}`, withData(`[1,2,${number}]`), 400)),
    ...numbers.map(number => sumCase(`${number.slice(0, 20)} nested`, withData(`[[${number},2,3]]`), 400)),
  ]
}
