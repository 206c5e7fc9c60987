/** Every option of `swa-onnx serve` in tools/deploy is one that the command has. */

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import yargs from 'yargs'
import * as serve from '../../src/cli/commands/serve.ts'
import { serveCommands } from './support/commands.ts'

const commands = serveCommands()

test('every file has its command', () => {
  const places = new Map<string, number>()
  for (const { place } of commands) places.set(place, (places.get(place) ?? 0) + 1)
  assert.equal(Object.fromEntries(places), {
    Dockerfile: 1,
    'Dockerfile.cuda': 1,
    'README.md': 4,
    'kserve/serving-runtime.yaml': 1,
    'kubernetes/cuda.yaml': 1,
    'kubernetes/deployment.yaml': 1,
    'swa-onnx.service': 1,
  })
})

/** Reads the words as the command does, without its work. */
async function parse(words: readonly string[]): Promise<unknown> {
  let found: unknown
  await yargs([])
    .locale('en')
    .command({ command: serve.command, builder: serve.builder, handler: args => void (found = args) })
    .strict()
    .fail((message, error) => {
      throw (error as Error | undefined) ?? new Error(message)
    })
    .parseAsync(['serve', ...words])
  return found
}

test('the options of all of them are known', async () => {
  for (const { place, words } of commands) {
    const problem = await parse(words).then(
      args => (args === undefined ? 'is no command' : null),
      (error: unknown) => String(error),
    )
    assert.is(problem, null, `${place}: serve ${words.join(' ')}: ${problem ?? ''}`)
  }
  const bogus = await parse(['models', '--bogus', '1']).catch(String)
  assert.match(String(bogus), /bogus/)
})

test.run()
