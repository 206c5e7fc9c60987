/**
 * Gives exported classifiers a new head and runs them: `node --import tsx tools/roles/heads.ts OUT [FOLDER...]`, over the
 * folders that export.py has written. One row for each model: whether its output has the new number of classes, and
 * whether exactly the tensors of its classifier changed.
 */

import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Model } from '../../src/ir/graph.ts'
import { cloneModel, reinitHead, weightOrigins, withoutFunctions } from '../../src/passes/index.ts'
import { cpuEngine } from '../../src/runtime/ort-cpu/engine.ts'
import { loadModel, serializeModel } from '../../src/serde/index.ts'
import { DTYPES } from '../../src/tensor/dtype.ts'
import { sizeOf } from '../../src/tensor/shape.ts'
import { Tensor } from '../../src/tensor/tensor.ts'
import { messageOf } from '../../src/util/errors.ts'
import { formatTable } from '../../src/util/format.ts'

const [BEFORE, AFTER] = [10, 7]

/** A tensor of which most elements are the classifier's belongs to it. */
const MOSTLY = 0.9

const [, , out, ...only] = process.argv
if (!out) throw new Error('usage: heads.ts OUT [FOLDER...]')

const engine = cpuEngine()
const rows: string[][] = []
for (const name of readdirSync(out).sort()) {
  const folder = join(out, name)
  if (!existsSync(join(folder, 'truth.json')) || (only.length > 0 && !only.includes(name))) continue
  rows.push([name, ...(await check(folder))])
}
console.log(formatTable([['model', 'layers', 'output', 'changed', 'result'], ...rows]))

async function check(folder: string): Promise<string[]> {
  const truth = JSON.parse(readFileSync(join(folder, 'truth.json'), 'utf8')) as Record<
    string,
    { readonly classifier?: number }
  >
  const file = await loadModel(join(folder, 'model.onnx'))
  try {
    const { model } = cloneModel(withoutFunctions(file.model))
    const before = tensorsOf(model)
    const output = model.graph.outputs[0]!.name
    // Auxiliary heads are outputs of their own.
    const heads = []
    for (const { name } of model.graph.outputs) {
      heads.push((await reinitHead(model, { classes: AFTER, seed: 1, output: name })).head)
    }
    const changed = [...tensorsOf(model)].filter(([key, tensor]) => before.get(key) !== tensor)
    const floats = changed.filter(([, tensor]) => DTYPES[tensor.dtype].float).map(([key]) => key)
    const real = Object.entries(truth).flatMap(([key, { classifier = 0 }]) =>
      classifier >= MOSTLY && before.has(key) ? [key] : [],
    )
    const strange = floats.filter(key => !real.includes(key))
    const left = real.filter(key => !floats.includes(key))
    const dims = await run(model, output)
    const problems = [
      ...(dims.includes(AFTER) && !dims.includes(BEFORE) ? [] : ['output has other dims']),
      ...(strange.length > 0 ? [`not the classifier's: ${strange.join(', ')}`] : []),
      ...(left.length > 0 ? [`left as they were: ${left.join(', ')}`] : []),
    ]
    const layers = heads
      .flatMap(head => head.layers)
      .map(({ node, bias }) => `${node.opType}${bias ? '+bias' : ''}`)
      .join(', ')
    return [layers, dims.join('x'), changed.map(([key]) => key).join(' '), problems.join('; ') || 'ok']
  } catch (error) {
    return ['', '', '', messageOf(error).slice(0, 200)]
  } finally {
    await file.close()
  }
}

function tensorsOf({ graph }: Model): Map<string, Tensor> {
  return new Map(
    [...weightOrigins(graph)].flatMap(([value, { tensor }]) =>
      tensor ? [[value.name, tensor] as const] : [],
    ),
  )
}

/** Dims of an output of a model that is run on small numbers. */
async function run(model: Model, output: string): Promise<readonly number[]> {
  const runner = await engine.openRunner(await serializeModel(model), { threads: 1 })
  try {
    const feeds = model.graph.feeds.map(({ name, dtype, shape }) => {
      const integer = !DTYPES[dtype].float
      const numbers = Array.from({ length: sizeOf(shape) }, (_, i) => (integer ? 5n : Math.sin(i)))
      return [name, Tensor.of(dtype, shape, numbers as number[])] as const
    })
    return (await runner.run(new Map(feeds), [output])).get(output)!.dims
  } finally {
    await runner.close()
  }
}
