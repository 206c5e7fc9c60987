/** The options of the loss, as finetune reads them. */

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { objectiveOf, type ObjectiveArguments } from '../../src/cli/finetune-options/objective.ts'
import { errorOf } from '../support/errors.ts'

const DEFAULTS: ObjectiveArguments = { loss: ['auto'], labelSmoothing: 0, ignoreIndex: -100 }
const settingsOf = (args: Partial<ObjectiveArguments>) => objectiveOf({ ...DEFAULTS, ...args }).settings

test('one plain loss stays a word, so that plans read well', () => {
  assert.equal(settingsOf({}), { loss: 'auto', labelSmoothing: 0, ignoreIndex: -100 })
  assert.is(settingsOf({ loss: ['mse'] }).loss, 'mse')
  assert.equal(settingsOf({ loss: ['huber:2'] }).loss, [{ kind: 'huber', parameter: 2 }])
})

test('an ONNX file is the whole loss', async () => {
  assert.equal(objectiveOf({ ...DEFAULTS, loss: ['a/own.onnx'] }), {
    settings: { loss: 'graph', labelSmoothing: 0, ignoreIndex: -100 },
    lossGraph: 'a/own.onnx',
  })
  const error = await errorOf(() => settingsOf({ loss: ['own.onnx', 'mse'] }))
  assert.is(error.message, '--loss: an ONNX file is the whole loss, found own.onnx and mse')
})

test('class weights: a word, numbers, a file', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'swa-weights-'))
  try {
    const write = (name: string, value: unknown) => {
      const path = join(folder, name)
      writeFileSync(path, JSON.stringify(value))
      return path
    }
    assert.is(settingsOf({ classWeights: 'balanced' }).classWeights, 'balanced')
    assert.equal(settingsOf({ classWeights: '1,2.5,0' }).classWeights, [1, 2.5, 0])
    assert.equal(settingsOf({ classWeights: write('list.json', [1, 2]) }).classWeights, [1, 2])
    assert.equal(settingsOf({ classWeights: write('names.json', { cat: 2 }) }).classWeights, { cat: 2 })
    const negative = await errorOf(() => settingsOf({ classWeights: '1,-2' }))
    assert.is(negative.message, '--class-weights: expected numbers that are not negative, found -2')
    const text = await errorOf(() => settingsOf({ classWeights: write('text.json', ['a']) }))
    assert.match(text.message, /expected numbers that are not negative, found "a"$/)
    const missing = await errorOf(() => settingsOf({ classWeights: join(folder, 'none.json') }))
    assert.match(missing.message, /none\.json: expected balanced, numbers, or a JSON file: ENOENT/)
    const word = await errorOf(() => settingsOf({ classWeights: write('word.json', 'x') }))
    assert.match(word.message, /expected a list of numbers, or numbers by class name$/)
  } finally {
    rmSync(folder, { recursive: true })
  }
})

test('weights of "yes", and label smoothing out of range', async () => {
  assert.equal(settingsOf({ posWeight: '3' }).posWeight, [3])
  assert.is(settingsOf({ posWeight: 'balanced' }).posWeight, 'balanced')
  const error = await errorOf(() => settingsOf({ labelSmoothing: 2 }))
  assert.is(error.message, '--label-smoothing: expected a number from 0 to 1, found 2')
})

test.run()
