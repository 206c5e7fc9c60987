/** PyTorch checkpoints: the tensors that torch.save wrote, and files that would do harm. */

import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { planAverage, runAverage } from '../../src/averaging/index.ts'
import { openSafetensors, openTorchFile } from '../../src/serde/index.ts'
import { readPickle } from '../../src/serde/pickle.ts'
import { SwaError } from '../../src/util/errors.ts'
import { errorOf } from '../support/errors.ts'

const FOLDER = join(import.meta.dirname, '../../fixtures/averaging/torch')
const file = (name: string) => join(FOLDER, name)
const folder = mkdtempSync(join(tmpdir(), 'swa-torch-'))

test.after(() => {
  rmSync(folder, { recursive: true })
})

async function contents(
  open: (
    path: string,
  ) => Promise<Awaited<ReturnType<typeof openTorchFile>> | Awaited<ReturnType<typeof openSafetensors>>>,
  path: string,
): Promise<Map<string, unknown>> {
  const opened = await open(path)
  const found = new Map<string, unknown>()
  for (const [name, tensor] of opened.tensors) {
    const { dtype, dims } = tensor
    found.set(name, [dtype, [...dims], Buffer.from(await tensor.bytes()).toString('hex')])
  }
  await opened.close()
  return new Map([...found].sort(([a], [b]) => (a < b ? -1 : 1)))
}

for (const [name, same] of [
  ['plain-1.pt', 'plain-1.safetensors'],
  ['plain-2.pt', 'plain-2.safetensors'],
  ['training.pt', 'plain-1.safetensors'],
] as const) {
  test(`${name} has the tensors of ${same}`, async () => {
    assert.equal(await contents(openTorchFile, file(name)), await contents(openSafetensors, file(same)))
  })
}

test('where the state dict was found', async () => {
  for (const [name, place] of [
    ['plain-1.pt', ''],
    ['training.pt', 'state_dict'],
  ] as const) {
    const opened = await openTorchFile(file(name))
    assert.is(opened.place, place)
    await opened.close()
  }
})

test('the average of checkpoints is that of the same tensors as safetensors', async () => {
  const averages = []
  for (const kind of ['pt', 'safetensors']) {
    const out = join(folder, `${kind}.safetensors`)
    await runAverage(await planAverage([1, 2].map(i => file(`plain-${i}.${kind}`))), out)
    averages.push(await contents(openSafetensors, out))
  }
  assert.equal(averages[0], averages[1])
})

test('what would have to be executed is refused, and is not', async () => {
  const attack = await errorOf(openTorchFile(file('attack.pt')))
  assert.match(
    attack.message,
    /attack\.pt: "attack" is a (posix|os)\.system, which would have to be executed, expected a tensor$/,
  )
  assert.not.ok(existsSync('swa-onnx-attack'))
  const module = await errorOf(openTorchFile(file('module.pt')))
  assert.match(module.message, /module\.pt: expected a state dict, found a /)
  assert.is(module.cure, 'save the state dict alone: torch.save(model.state_dict(), path)')
})

test('a pickle of before PyTorch 1.6 says what to do', async () => {
  const old = join(folder, 'old.pt')
  writeFileSync(old, Buffer.from([0x80, 2, 0x8a, 10, 0x6c]))
  const error = await errorOf(planAverage([old]))
  assert.is(error.cure, 'load it with torch.load and save it again with torch.save')
})

test('whole numbers, texts and structures of a pickle', () => {
  // pickle.dumps({'a': [1, -2, 2**40, 300, 1.5, (True, None), 'é', b'xy']}, protocol=4)
  const dumped =
    '80049535000000000000007d948c0161945d94284b014afeffffff8a060000000000014d2c01473ff8000000000000884e86948c02c3a994430278799465732e'
  const value = readPickle(Buffer.from(dumped, 'hex'), 'x')
  const list = [1, -2, 2 ** 40, 300, 1.5, [true, null], 'é', Buffer.from('xy')]
  assert.equal(value, new Map([['a', list]]))
})

test('mutated checkpoints are refused by one error or read: nothing else', async () => {
  const originals = ['plain-1.pt', 'training.pt'].map(name => readFileSync(file(name)))
  const path = join(folder, 'mutated.pt')
  await fc.assert(
    fc.asyncProperty(
      fc.constantFrom(...originals),
      fc.array(fc.tuple(fc.nat(), fc.nat(255)), { minLength: 1, maxLength: 6 }),
      fc.option(fc.nat(), { freq: 4 }),
      async (original, changes, cut) => {
        const bytes = Buffer.from(original)
        for (const [at, value] of changes) bytes[at % bytes.length] = value
        writeFileSync(path, cut === null ? bytes : bytes.subarray(0, cut % bytes.length))
        try {
          const opened = await openTorchFile(path)
          for (const tensor of opened.tensors.values()) await tensor.bytes()
          await opened.close()
        } catch (error) {
          if (!(error instanceof SwaError) || error.exitCode === 1) throw error
        }
      },
    ),
    { numRuns: 400, seed: 7 },
  )
})

test('pickles of any bytes end in a value or in one error', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 60 }), bytes => {
      try {
        readPickle(bytes, 'x')
      } catch (error) {
        if (!(error instanceof SwaError) || error.exitCode === 1) throw error
      }
    }),
    { numRuns: 3000, seed: 7 },
  )
})

test.run()
