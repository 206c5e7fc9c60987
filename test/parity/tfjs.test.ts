/**
 * The tfjs engine beside the CPU engine: rules, composites and fixture models, on the plain JavaScript backend or on the
 * package that SWA_ONNX_TEST_TFJS names.
 */

import { test } from 'uvu'
import { testModels, testRules } from '../support/parity.ts'
import { rowName } from '../support/grad-row.ts'
import { backendName, engine } from '../support/tfjs.ts'
import { GRAD_ROWS } from '../autodiff/rows/index.ts'

const open = () => Promise.resolve(engine)
/** Models that the JavaScript backend trains in seconds. */
const SMALL = [
  'mlp-ts',
  'mlp-ts13',
  'mlp-dynamo',
  'bn_cnn-ts',
  'bn_cnn-ts13',
  'bn_cnn-dynamo',
  'bn_cnn-dynamo-raw',
]
const LARGE = [
  'resnet18_narrow-ts',
  'resnet18_narrow-dynamo',
  'mobilenetv2_narrow-ts',
  'mobilenetv2_narrow-dynamo',
]

/** There is no kernel that multiplies or compares what meets at one place. */
const refused = new Map(
  GRAD_ROWS.filter(({ attributes }) => /^(mul|max|min)$/.test(String(attributes?.['reduction']))).map(
    each => [rowName(each), /the tfjs engine knows the reductions none and add, found (mul|max|min)/],
  ),
)

await testRules(test, open, { refused })
testModels(test, open, backendName === 'cpu' ? SMALL : [...SMALL, ...LARGE])

test.run()
