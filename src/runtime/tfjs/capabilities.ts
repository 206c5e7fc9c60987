/** What the tfjs engine computes: the operators that it has kernel writers for, and those that are written out in them. */

import { EXPANSIONS } from '../../ops/expansions/index.ts'
import type { Capabilities } from '../engine.ts'
import { TF_DTYPES } from './tf.ts'
import type { DType } from '../../tensor/dtype.ts'
import { WRITERS } from './writers/index.ts'

export const TFJS_CAPABILITIES: Capabilities = {
  operators: new Set([...Object.keys(WRITERS), ...Object.keys(EXPANSIONS)]),
  dtypes: new Set(Object.keys(TF_DTYPES) as DType[]),
  state: 'device',
}
