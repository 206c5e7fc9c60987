/**
 * Shapes and constants are observed, not inferred: ONNX Runtime says the types it knows, and one unoptimised run gives
 * the shapes it could not infer and the values of shape-computing sub-graphs.
 */

import { Builder } from '../ir/builder.ts'
import { Graph, Model } from '../ir/graph.ts'
import { Node } from '../ir/node.ts'
import { readsOf } from '../ir/topology.ts'
import { Value, type TensorType } from '../ir/value.ts'
import { namesOf, type Observations } from '../passes/index.ts'
import { EnvironmentError, InputError, messageOf } from '../util/errors.ts'
import type { Tensor } from '../tensor/tensor.ts'
import { observerOf, type Engine, type Feeds, type Runner } from './engine.ts'
import { serializeModel } from '../serde/index.ts'

/**
 * Observes a model for one set of input shapes.
 *
 * @param model its inputs have static shapes; it is not changed
 * @param feeds one value for each input, of those shapes
 * @param wanted values whose elements are asked for (constants to be folded)
 */
export async function observe(
  engine: Engine,
  model: Model,
  feeds: Feeds,
  wanted: readonly Value[],
): Promise<Observations> {
  const produced = model.graph.nodes.flatMap(node => node.outputs.filter(output => output !== null))
  const types = await inferTypes(engine, model, produced)
  // The binding shows an unknown rank as no dimensions, just as a scalar: both are looked at.
  const isKnown = ({ shape }: TensorType) => shape!.length > 0 && shape!.every(dim => typeof dim === 'number')
  const unknown = produced.filter(value => {
    const type = types.get(value.name)
    return type !== undefined && !isKnown(type)
  })
  const values = new Map<string, Tensor>()
  if (unknown.length === 0 && wanted.length === 0) return { types, values }

  const op = new Builder(namesOf(model.graph))
  const shapeOf = new Map(
    unknown.map(value => {
      const name = op.uniqueName(`${value.name}/observed_shape`)
      const output = Value.typed(name, 'int64', [null])
      op.nodes.push(new Node('Shape', [value], [output], { name }))
      return [output.name, value.name] as const
    }),
  )
  const outputs = [...op.nodes.map(node => node.output(0)), ...wanted]
  // ONNX Runtime walks back from the end of the list: with the first shapes last it asks for each shape as soon as its value
  // is there, and frees the value. The other way round it keeps all of them: 2155 instead of 377 MB for a ViT-Tiny.
  const runner = await open(engine, withOutputs(model, outputs, op.nodes.toReversed()))
  try {
    const used = new Map([...feeds].filter(([name]) => runner.inputs.some(input => input.name === name)))
    for (const [name, tensor] of await runner.run(used)) {
      const observed = shapeOf.get(name)
      if (observed === undefined) values.set(name, tensor)
      else types.set(observed, { ...types.get(observed)!, shape: tensor.toNumbers() })
    }
  } catch (error) {
    throw new InputError(`model: a forward pass on the training batch failed: ${messageOf(error)}`, {
      cause: error,
      cure: 'check that the data has the shape the model expects, and that the model accepts this batch size',
    })
  } finally {
    await runner.close()
  }
  return { types, values }
}

/** Opens the model with every value as an output, just to read the types that ONNX Runtime gives them. */
async function inferTypes(
  engine: Engine,
  model: Model,
  produced: readonly Value[],
): Promise<Map<string, TensorType>> {
  const runner = await open(engine, withOutputs(model, produced, []))
  const types = new Map<string, TensorType>()
  for (const { name, dtype, shape } of runner.outputs)
    if (dtype) types.set(name, { kind: 'tensor', dtype, shape })
  await runner.close()
  return types
}

async function open(engine: Engine, model: Model): Promise<Runner> {
  try {
    return await observerOf(engine).openRunner(await serializeModel(model), { optimization: 'disabled' })
  } catch (error) {
    if (error instanceof EnvironmentError) throw error
    throw new InputError(`model: ONNX Runtime cannot load the graph: ${messageOf(error)}`, { cause: error })
  }
}

/** The same model with other outputs and a few nodes more; nodes nobody needs are left out. */
function withOutputs(model: Model, outputs: readonly Value[], extra: readonly Node[]): Model {
  const graph = new Graph(model.graph.name)
  const needed = new Set<Node>()
  const pending = outputs.flatMap(value => value.producer ?? [])
  for (let node = pending.pop(); node; node = pending.pop()) {
    if (needed.has(node)) continue
    needed.add(node)
    for (const value of readsOf(node)) if (value.producer) pending.push(value.producer)
  }
  graph.inputs = model.graph.inputs
  graph.initializers = model.graph.initializers
  graph.nodes = [...model.graph.nodes, ...extra].filter(node => needed.has(node))
  graph.outputs = [...outputs]
  const copy = new Model(graph, model.irVersion, model.opsetImports)
  copy.functions = model.functions
  return copy
}
