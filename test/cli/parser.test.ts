import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { buildYargs } from '../../src/cli/yargs.ts'
import { errorOf } from '../support/errors.ts'

const COMMANDS = ['finetune', 'average', 'recalibrate', 'evaluate', 'inspect', 'doctor']

test('help names every command and the exit codes', async () => {
  const help = await buildYargs([]).getHelp()
  for (const command of COMMANDS) assert.match(help, `swa-onnx ${command}`)
  assert.match(help, 'Exit codes: 0 done')
})

for (const command of COMMANDS.filter(name => name !== 'doctor')) {
  test(`help of ${command} teaches by examples`, async () => {
    const help = await buildYargs([command]).getHelp()
    assert.match(help, 'Examples:')
    assert.match(help, `swa-onnx ${command} `)
    assert.match(help, '--json')
  })
}

const REFUSED: readonly (readonly [args: string, message: string | RegExp])[] = [
  ['', 'name a command'],
  ['inspekt model.onnx', 'unknown command; did you mean inspect?'],
  ['inspect', 'a file is missing: found 0, expected at least 1'],
  ['inspect model.onnx --bogus', 'unknown option or argument: bogus'],
  ['inspect model.onnx other.onnx', 'unknown option or argument: other.onnx'],
  ['evaluate model.onnx', 'missing option: --data'],
  ['evaluate --data d', 'a file is missing: found 0, expected at least 1'],
  ['evaluate model.onnx --data', '--data: expected a value, found nothing'],
  ['evaluate model.onnx --data d --limit many', '--limit: expected a number'],
  ['evaluate model.onnx --data d --limit 0', '--limit: expected a positive whole number, found 0'],
  ['evaluate model.onnx --data d --limit 1 --limit 2', '--limit: expected once, found 2 times: 1, 2'],
  [
    'evaluate model.onnx --data d --engine abacus',
    /^--engine: expected auto, .*cpu.*, found "abacus"$|^--engine: expected auto or cpu/,
  ],
  [
    'finetune model.onnx --data d --engine cpu:1',
    '--engine: cpu has no devices to choose from, found "cpu:1"',
  ],
  ['evaluate model.onnx --data d --precision fp16', '--precision fp16: float16 is for training'],
  ['finetune model.onnx --data d --precision amp', '--precision amp: its name is float16'],
  [
    'finetune model.onnx --data d --precision bfloat16',
    '--precision bfloat16: ONNX Runtime has no bfloat16 kernels for what training needs (ConvTranspose, BatchNormalization, MaxPool, Log and others)',
  ],
  [
    'recalibrate model.onnx --data d -o out.onnx --precision int8',
    '--precision: expected float32 or tf32, found "int8"',
  ],
  [
    'evaluate model.onnx --data d --engines cpu',
    '--engines: expected two or more different engines, found "cpu"',
  ],
  [
    'evaluate model.onnx --data d --engines cpu,cpu',
    '--engines: expected two or more different engines, found "cpu,cpu"',
  ],
  ['evaluate model.onnx --data d --engines cpu,auto', /^--engines: expected .*cpu.*, found "auto"$/],
  ['evaluate model.onnx --data d --tolerance 1e-3', '--tolerance: it goes with --engines'],
  ['evaluate model.onnx --data d --mean 0.5', '--mean: expected --mean and --std together'],
  [
    'evaluate model.onnx --data d --mean 0.5,x --std 1',
    '--mean: expected numbers separated by commas, found "0.5,x"',
  ],
  ['evaluate model.onnx --data d --mean 0 --std 0', '--std: expected positive numbers, found 0'],
  ['evaluate model.onnx --data d --size big', /^--size: expected height x width such as 48x192/],
  ['evaluate model.onnx --data d --hold-out 2', '--hold-out: expected a number from 0 to 0.9, found 2'],
  ['evaluate model.onnx --data d --seed -1', '--seed: expected a whole number of 0 or more, found -1'],
  ['evaluate model.onnx --data d --inputs a,,b', /^--inputs: expected different names/],
  ['serve m.onnx --watch', '--watch: expected a value, found nothing'],
  ['serve m.onnx --allow-host', '--allow-host: expected a value, found nothing'],
  ['serve m.onnx --timeout', '--timeout: expected a value, found nothing'],
  ['serve m.onnx --poll', '--poll: expected a value, found nothing'],
  ['serve m.onnx --max-body=', '--max-body: expected a value, found nothing'],
  ['serve m.onnx --host', '--host: expected a value, found nothing'],
  ['serve --host --port 0 m.onnx', '--host: expected a value, found nothing'],
  ['serve m.onnx --log-level', '--log-level: expected a value, found nothing'],
  ['serve m.onnx --share-models=maybe', '--share-models: expected true or false, found "maybe"'],
  ['serve m.onnx --log-requests=5', '--log-requests: expected true or false, found "5"'],
  ['average a.onnx -o', '--out: expected a value, found nothing'],
  ['finetune model.onnx --data d --train', '--train: expected a value, found nothing'],
  ['inspect model.onnx --json=1', '--json: expected true or false, found "1"'],
  ['recalibrate model.onnx --data d', 'missing option: --out'],
  ['recalibrate model.onnx --data d -o out.onnx --batch-size 0', /^--batch-size: expected a positive whole/],
  ['average a.onnx', 'missing option: --out'],
  ['average a.onnx -o a.onnx', '--out: a.onnx is an input'],
  ['average a.onnx -o out.onnx --weights 1,', '--weights: expected numbers separated by commas, found "1,"'],
]

for (const [args, message] of REFUSED) {
  test(`bad usage: ${args || 'nothing'}`, async () => {
    const parser = buildYargs(args.split(' ').filter(Boolean))
    const error = await errorOf(async () => parser.parseAsync())
    if (typeof message === 'string') assert.is(error.message, message)
    else assert.match(error.message, message)
    assert.is(error.exitCode, 2)
  })
}

test('the cure of bad usage names the help of the command', async () => {
  assert.is(
    (await errorOf(async () => buildYargs(['evaluate']).parseAsync())).cure,
    'see `swa-onnx evaluate --help`',
  )
  assert.is((await errorOf(async () => buildYargs(['what']).parseAsync())).cure, 'see `swa-onnx --help`')
})

test('patterns take one name each, so that they may stand before the model', async () => {
  const error = await errorOf(async () =>
    buildYargs(['inspect', '--train', 'a', '--train', 'b', 'none.onnx']).parseAsync(),
  )
  assert.match(error.message, 'read none.onnx')
  assert.is(error.exitCode, 3)
})

test.run()
