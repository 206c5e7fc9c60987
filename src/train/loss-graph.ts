/**
 * A loss of a person's own: an ONNX graph, put behind the model's outputs and differentiated with them. Its inputs are the
 * model's outputs by name (or `logits`: what the only output's activation is applied to), the targets of the data by name,
 * and `class_weights`. Its output `loss` is a scalar; others are scalars too and are reported as metrics.
 */

import { operatorKey, RULES, ruleFor } from '../autodiff/index.ts'
import type { TargetField } from '../data/index.ts'
import type { LossInput, LossToMeasure } from '../eval/loss-meter.ts'
import { nodesOnTheWay } from '../eval/obstacles.ts'
import type { Builder } from '../ir/builder.ts'
import type { Model } from '../ir/graph.ts'
import { ONNX_DOMAIN } from '../ir/node.ts'
import { walkNodes } from '../ir/topology.ts'
import { Value, type Dim, type TensorType } from '../ir/value.ts'
import {
  cloneModel,
  findLogits,
  liftConstants,
  Names,
  raiseOpset,
  redirectReads,
  refuseQuantized,
} from '../passes/index.ts'
import { openModelBytes } from '../serde/index.ts'
import { formatShape, sizeOf, type Shape } from '../tensor/shape.ts'
import { Tensor } from '../tensor/tensor.ts'
import { InputError, messageOf, SwaError, UnsupportedError } from '../util/errors.ts'
import type { WrittenObjective } from './objective.ts'
import { adaptTargets } from './task.ts'

/** A loss graph, and what it may read besides the model. */
export interface LossGraph {
  /** For messages. */
  readonly path: string
  readonly bytes: Uint8Array
  readonly targets: readonly TargetField[]
  readonly classWeights: readonly number[] | null
  /** The model output that `logits` belongs to; default: the only one. */
  readonly output?: string
}

/** A loss graph behind a model. */
export interface AttachedLoss {
  /** `loss`, then the metrics: the outputs that the model is left with. */
  readonly outputs: readonly Value[]
  /** The inputs that targets feed. */
  readonly inputs: ReadonlySet<Value>
  /** The loss of the training program, of the graph's outputs as they are after folding. */
  write(op: Builder, outputs: readonly Value[]): WrittenObjective
  /** The same loss, measured on what a model gives. */
  readonly toMeasure: LossToMeasure
}

/** The name of the output that is made small. */
const LOSS = 'loss'
const LOGITS = 'logits'
const CLASS_WEIGHTS = 'class_weights'

/**
 * Puts a loss graph behind a model, which receives its nodes and one input for each target that it reads.
 *
 * @param model a copy in the program's opset, its shapes for batches of `batchSize`
 * @param source the model as the file holds it
 */
export async function attachLoss(
  model: Model,
  source: Model,
  graph: LossGraph,
  batchSize: number,
): Promise<AttachedLoss> {
  return new Attachment(model, source, graph, batchSize).attach(await openLoss(model, graph))
}

/** The loss graph in the model's dialect, its constants in memory. */
async function openLoss(model: Model, { path, bytes }: LossGraph): Promise<Model> {
  const file = await openModelBytes(bytes, path)
  refuseQuantized(file.model)
  const { model: loss } = cloneModel(file.model)
  liftConstants(loss)
  if (loss.opset < model.opset) raiseOpset(loss)
  if (loss.opset > model.opset) {
    throw new UnsupportedError(
      `loss ${path}: expected an opset up to ${model.opset}, which the model is trained in, found ${loss.opset}`,
      { cure: `write the loss with opset ${model.opset}` },
    )
  }
  for (const value of loss.graph.initializers) if (value.tensor) value.tensor = await value.tensor.load()
  return loss
}

class Attachment {
  readonly #model: Model
  readonly #source: Model
  readonly #graph: LossGraph
  readonly #batchSize: number
  readonly #inputs = new Map<string, LossInput>()
  readonly #targets: { readonly field: string; readonly value: Value }[] = []
  /** Values of the model that the loss reads, as the loss declares them. */
  readonly #read: { readonly name: string; readonly type: TensorType; readonly value: Value }[] = []
  readonly #names: Names

  constructor(model: Model, source: Model, graph: LossGraph, batchSize: number) {
    this.#model = model
    this.#source = source
    this.#graph = graph
    this.#batchSize = batchSize
    this.#names = new Names(model.graph)
  }

  attach({ graph: loss, opsetImports }: Model): AttachedLoss {
    const { graph } = this.#model
    const metrics = this.#checkOutputs(loss.outputs)
    this.#rename(loss.nodes, loss.initializers)
    const sources = new Map(loss.feeds.map(input => [input, this.#sourceOf(input)]))
    redirectReads(loss, sources)
    if (this.#read.length === 0) throw this.#error('it reads no output of the model')
    graph.inputs.push(...this.#targets.map(({ value }) => value))
    graph.initializers.push(
      ...loss.initializers,
      ...[...sources.values()].filter(value => value.tensor !== null),
    )
    graph.nodes.push(...loss.nodes)
    for (const [domain, version] of opsetImports)
      if (domain !== ONNX_DOMAIN) this.#model.opsetImports.set(domain, version)
    const names = [...metrics.keys()]
    const outputs = [...metrics.values()].map(value => sources.get(value) ?? value)
    this.#checkRules(outputs[0]!)
    return {
      outputs,
      inputs: new Set(this.#targets.map(({ value }) => value)),
      write: (op, outputs) => this.#write(op, names, outputs),
      toMeasure: { bytes: this.#graph.bytes, inputs: this.#inputs, outputs: names },
    }
  }

  /** `loss` first, then the others. */
  #checkOutputs(outputs: readonly Value[]): Map<string, Value> {
    const names = outputs.map(({ name }) => name)
    const loss = outputs.find(({ name }) => name === LOSS)
    if (!loss) {
      throw this.#error(`expected an output "${LOSS}", found ${names.join(', ') || 'none'}`)
    }
    return new Map([[LOSS, loss], ...outputs.map(value => [value.name, value] as const)])
  }

  /** Names of the loss graph begin with `loss/` in the program. */
  #rename(nodes: Model['graph']['nodes'], initializers: readonly Value[]): void {
    for (const value of initializers) value.name = this.#names.fresh(`${LOSS}/${value.name}`)
    for (const node of nodes) {
      node.name = this.#names.fresh(`${LOSS}/${node.name || node.opType}`)
      for (const value of node.outputs) if (value) value.name = this.#names.fresh(`${LOSS}/${value.name}`)
    }
  }

  /** What an input of the loss graph reads: an output of the model, its logits, a target, or the class weights. */
  #sourceOf(input: Value): Value {
    const { type, name } = input
    if (type?.kind !== 'tensor') throw this.#error(`input "${name}" should be a tensor`)
    const output = this.#model.graph.outputs.find(value => value.name === name)
    if (output) return this.#ofModel(name, type, output, { from: 'output', output: name })
    const target = this.#target(name)
    if (target) return this.#ofTarget(name, type, target)
    if (name === LOGITS) {
      const { output: end, value, activation } = findLogits(this.#model, this.#graph.output)
      return this.#ofModel(name, type, value, { from: 'logits', output: end.name, activation })
    }
    if (name === CLASS_WEIGHTS) return this.#ofWeights(type)
    const list = (values: readonly { readonly name: string }[]) =>
      values.map(value => `"${value.name}"`).join(', ')
    throw this.#error(
      `input "${name}" is neither an output of the model (${list(this.#model.graph.outputs)}) nor a target of the data (${list(this.#graph.targets)})`,
      `name its inputs after those, or "${LOGITS}", or "${CLASS_WEIGHTS}"`,
    )
  }

  /** The target of a name; an only one without a name is `target`. */
  #target(name: string): TargetField | undefined {
    const { targets } = this.#graph
    const only = targets.length === 1 && name === 'target' ? targets[0] : undefined
    return targets.find(target => target.name === name) ?? only
  }

  #ofModel(
    name: string,
    type: TensorType,
    value: Value,
    input: LossInput & { readonly output: string },
  ): Value {
    const declared = this.#source.graph.outputs.find(output => output.name === input.output)?.type
    if (declared?.kind === 'tensor') {
      const { shape } = declared
      const fits = type.dtype === declared.dtype && (!type.shape || !shape || fitsShape(type.shape, shape))
      if (!fits)
        throw this.#mismatch(name, type, `the model gives ${declared.dtype}${formatShape(shape ?? [])}`)
    }
    this.#inputs.set(name, input)
    this.#read.push({ name, type, value })
    return value
  }

  #ofTarget(name: string, { dtype, shape }: TensorType, target: TargetField): Value {
    const own = [this.#batchSize, ...target.dims]
    const declared =
      shape?.map((dim, axis) => (typeof dim === 'number' && axis > 0 ? dim : (own[axis] ?? 1))) ?? own
    const takes =
      ['float32', 'int64', 'int32'].includes(dtype) && (dtype === 'float32' || target.kind === 'class')
    if (!takes || sizeOf(declared) !== sizeOf(own)) {
      const found = target.kind === 'class' ? 'int64' : 'float32'
      throw this.#mismatch(name, { dtype, shape }, `the data give ${found}${formatShape(own)}`)
    }
    const value = Value.typed(this.#names.fresh(`target/${target.name}`), dtype, declared)
    const ofBatch = (batch: Tensor): Shape => [batch.dims[0]!, ...declared.slice(1)]
    const adapt = (batch: Tensor) => adaptTargets(batch, { dtype, shape: ofBatch(batch) })
    this.#inputs.set(name, { from: 'target', target: target.name, adapt })
    this.#targets.push({ field: target.name, value })
    return value
  }

  #ofWeights({ dtype, shape }: TensorType): Value {
    const weights = this.#graph.classWeights
    if (weights === null) throw this.#error(`input "${CLASS_WEIGHTS}" needs --class-weights`)
    const tensor = Tensor.of('float32', [weights.length], weights)
    if (dtype !== 'float32' || (shape && !fitsShape([null, ...shape], [null, ...tensor.dims])))
      throw this.#mismatch(
        CLASS_WEIGHTS,
        { dtype, shape },
        `--class-weights gives float32[${weights.length}]`,
      )
    this.#inputs.set(CLASS_WEIGHTS, { from: 'constant', tensor })
    return Value.constant(this.#names.fresh(`${LOSS}/${CLASS_WEIGHTS}`), tensor)
  }

  /** Gradients must find their way from the loss to what it reads of the model. */
  #checkRules(loss: Value): void {
    const own = [...walkNodes(this.#model.graph)].filter(node => node.name.startsWith(`${LOSS}/`))
    const read = this.#read.map(({ value }) => value)
    const way = nodesOnTheWay(own, read, loss)
    if (way.length === 0 && !read.includes(loss))
      throw this.#error(
        `"${LOSS}" does not depend on what it reads of the model in a way that has a gradient`,
      )
    for (const node of way) {
      try {
        ruleFor(RULES, node, this.#model.opset)
      } catch (error) {
        if (!(error instanceof SwaError)) throw error
        throw new UnsupportedError(`loss ${this.#graph.path}: ${messageOf(error)}`, {
          cause: error,
          cure: `write it without ${operatorKey(node)}`,
        })
      }
    }
  }

  #write(op: Builder, names: readonly string[], outputs: readonly Value[]): WrittenObjective {
    // Shapes that the model's file does not declare are known by now.
    for (const { name, type, value } of this.#read) {
      const shape = value.staticShape
      if (shape && type.shape && !fitsShape(type.shape, shape))
        throw this.#mismatch(name, type, `the model gives ${value.dtype}${formatShape(shape)}`)
    }
    const scalars = outputs.map((value, i) => {
      const name = names[i]!
      if (sizeOf(value.shape) !== 1 || (name === LOSS && value.dtype !== 'float32')) {
        throw this.#error(
          `output "${name}" should be a scalar${name === LOSS ? ' of float32' : ''}, found ${value.dtype}${formatShape(value.shape)}`,
          'reduce it, with ReduceMean for instance',
        )
      }
      return [name, op.Identity(op.Reshape(op.Cast(value, 'float32'), []))] as const
    })
    return { loss: scalars[0]![1], metrics: new Map(scalars), targets: this.#targets }
  }

  #mismatch(name: string, { dtype, shape }: Omit<TensorType, 'kind'>, found: string): InputError {
    return this.#error(
      `input "${name}" takes ${dtype}${shape ? formatShape(shape) : ''}, ${found}`,
      'declare the input as the other side is, and cast or reshape it in the loss graph',
    )
  }

  #error(message: string, cure?: string): InputError {
    return new InputError(`loss ${this.#graph.path}: ${message}`, cure === undefined ? {} : { cure })
  }
}

/** Whether two shapes may be the same, apart from the batch. */
function fitsShape(a: readonly Dim[], b: readonly Dim[]): boolean {
  if (a.length !== b.length) return false
  return a.every((dim, i) => i === 0 || typeof dim !== 'number' || typeof b[i] !== 'number' || dim === b[i])
}
