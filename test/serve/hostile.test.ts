/**
 * Requests of whoever means harm, as bytes over sockets: each is refused in bounded time, in the protocol's own words, and
 * the server goes on answering with the right numbers in bounded memory.
 */

import { rmSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { attackedServer } from './support/attacked-server.ts'
import { attackAll, SUM, type HostileCase } from './support/hostile-case.ts'
import {
  deafClient,
  floods,
  leavingClients,
  megabyte,
  slowClients,
  waitingClients,
} from './support/hostile-connections.ts'
import { encodings, framing, headers, verbs } from './support/hostile-http.ts'
import { mutations, strangeJson, truncations, wrongTokens } from './support/hostile-json.ts'
import { accesses, paths } from './support/hostile-paths.ts'
import {
  ATTACKED_DATATYPES,
  hostileParameters,
  wrongElements,
  wrongSizes,
  wrongTypes,
} from './support/hostile-tensors.ts'
import { writeKnownModels } from './support/identity-models.ts'
import { ask, post } from './support/raw-http.ts'

const MIB = 2 ** 20
/** All bodies that may be there at one time, unpacked and taken apart, and what the runtime has not yet collected. */
const PEAK_MIB = 200
const SEED = 20_240_611
const folder = await writeKnownModels(ATTACKED_DATATYPES)
const server = await attackedServer(folder)
let cases = 0

async function checkService(): Promise<void> {
  const input = (name: string, data: number[]) => ({ name, shape: [2, 3], datatype: 'FP32', data })
  const inputs = [input('a', [1, 2, 3, 4, 5, 6]), input('b', [0.5, -2, 10, 20, 30, -6])]
  const { status, body } = await ask(server.open, post(SUM, JSON.stringify({ inputs })))
  assert.is(status, 200, body.toString())
  const { outputs } = JSON.parse(body.toString()) as { outputs: [{ data: number[] }] }
  assert.equal(outputs[0].data, [1.5, 0, 13, 24, 35, 0])
}

await checkService()
const before = await server.memory()

async function survives(rows: readonly HostileCase[], port = server.open): Promise<void> {
  cases += rows.length
  await attackAll(port, rows)
  await checkService()
}

const GROUPS: readonly (readonly [string, () => HostileCase[]])[] = [
  ['JSON cut anywhere', truncations],
  ['wrong tokens in JSON', () => wrongTokens(SEED, 700)],
  ['random changes of JSON', () => mutations(SEED, 500)],
  ['deep, repeated and strange JSON', strangeJson],
  ['members of wrong types', wrongTypes],
  ['elements and shapes', wrongElements],
  ['binary sizes', () => wrongSizes(SEED)],
  ['parameters', hostileParameters],
  ['framing and smuggling', framing],
  ['headers', headers],
  ['names, versions and paths', paths],
  ['verbs', verbs],
  ['packed bodies', () => encodings(SEED)],
  ['slow clients', slowClients],
  ['floods', floods],
]

for (const [name, rows] of GROUPS) test(name, () => survives(rows()))

test('keys and tokens', () => survives(accesses(), server.locked))

test('clients that leave at any moment; what their bodies took is free again', async () => {
  cases += await leavingClients(server.open)
  await sleep(300)
  const answers = await Promise.all(Array.from({ length: 12 }, () => ask(server.open, megabyte())))
  assert.equal(
    answers.map(({ status }) => status),
    answers.map(() => 200),
  )
  await checkService()
})

test('clients that announce large bodies and wait keep nobody out', async () => {
  const { hangUp } = await waitingClients(server.open, 40)
  cases += 40
  await checkService()
  hangUp()
})

test('a client that reads no answers', async () => {
  await deafClient(server.open, 3000)
  cases++
  await checkService()
})

test('the largest classes of a row that rises all the way', async () => {
  const row = Float32Array.from({ length: 500_000 }, (_, i) => i)
  const request = (classification: number, shape: readonly number[]) => {
    const json = JSON.stringify({
      inputs: [{ name: 'x', shape, datatype: 'FP32', parameters: { binary_data_size: row.byteLength } }],
      outputs: [{ name: 'y', parameters: { classification } }],
    })
    const body = Buffer.concat([Buffer.from(json), Buffer.from(row.buffer)])
    return post('/v2/models/fp32/infer', body, { 'Inference-Header-Content-Length': String(json.length) })
  }
  const { status, body } = await ask(server.open, request(60_000, [1, row.length]))
  assert.is(status, 200)
  const { outputs } = JSON.parse(body.toString()) as { outputs: [{ data: string[] }] }
  const expected = Array.from({ length: 60_000 }, (_, i) => `${499_999 - i}.000000:${499_999 - i}`)
  assert.equal(outputs[0].data, expected)
  await survives([
    { name: 'more classes than an answer has', sent: request(100_001, [1, row.length]), end: 400 },
    { name: 'classes of many samples', sent: request(2, [row.length / 2, 2]), end: 400 },
  ])
})

test('after all of it: the process lives, complains about nothing and has not grown', async () => {
  assert.ok(cases >= 2000, `${cases} cases`)
  assert.ok(server.alive())
  assert.is(server.complaints(), '')
  const after = await server.memory()
  const grown = (after.now - before.now) / MIB
  const peak = (after.peak - before.peak) / MIB
  console.log(`  ${cases} cases, ${Math.round(grown)} MiB more than before, ${Math.round(peak)} at most`)
  assert.ok(grown < 150, `${grown} MiB`)
  assert.ok(peak < PEAK_MIB, `${peak} MiB`)
})

test.after(async () => {
  await server.close()
  rmSync(folder, { recursive: true, force: true })
})

test.run()
