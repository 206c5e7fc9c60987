/**
 * The tfjs engine beside the CPU engine: rules, composites and fixture models, on the plain JavaScript backend or on the
 * package that SWA_ONNX_TEST_TFJS names.
 */

import { readdirSync } from 'node:fs'
import { test } from 'uvu'
import { testModels, testRules } from '../support/parity.ts'
import { rowName } from '../support/grad-row.ts'
import { backendName, engine } from '../support/tfjs.ts'
import { MODELS } from '../support/training.ts'
import { GRAD_ROWS } from '../autodiff/rows/index.ts'

const open = () => Promise.resolve(engine)
/** Models that the JavaScript backend trains in seconds; bn_cnn-ts is in runtime/tfjs/models.test.ts. */
const SMALL = ['mlp-ts13', 'mlp-dynamo', 'bn_cnn-dynamo-raw']

/** There is no kernel that multiplies or compares what meets at one place. */
const UNKNOWN: readonly unknown[] = ['mul', 'max', 'min']
const refused = new Map(
  GRAD_ROWS.filter(
    ({ op, attributes }) => op.startsWith('Scatter') && UNKNOWN.includes(attributes?.['reduction']),
  ).map(each => [rowName(each), /the tfjs engine knows the reductions none and add, found (mul|max|min)/]),
)

await testRules(test, open, { refused })
testModels(test, open, backendName === 'cpu' ? SMALL : readdirSync(MODELS))

test.run()
