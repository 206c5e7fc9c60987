/** Gives a model a fresh classifier for another number of classes; the rest of the graph stays as it is. */

import { InputError } from '../util/errors.ts'
import { sizeOf, type Shape } from '../tensor/shape.ts'
import { Tensor } from '../tensor/tensor.ts'
import type { Model } from '../ir/graph.ts'
import { ONNX_DOMAIN, type Node } from '../ir/node.ts'
import { usesOf } from '../ir/topology.ts'
import { Value } from '../ir/value.ts'
import { Random } from '../util/random.ts'
import { findHead, type Head, type HeadLayer } from './find-head.ts'
import { tensorOf } from './lift-constants.ts'
import { Names } from './names.ts'
import type { PassResult } from './pass.ts'

export interface NewHead {
  readonly classes: number
  readonly seed: number
  /** The output whose head it is; default: the only one. */
  readonly output?: string
  /** Names of the new classes, where they are known. */
  readonly classNames?: readonly string[]
}

export interface ReinitResult extends PassResult {
  readonly head: Head
  /** What a person should know. */
  readonly notes: readonly string[]
}

/** Entries of metadata_props in which exporters keep the names of classes. */
const CLASS_METADATA = /^(names|classes|class_names|labels|id2label|label2id|categories)$/i

/** Where the names of the new classes are written, as a JSON list. */
const CLASS_NAMES = 'classes'

/**
 * Replaces the head in place:
 * 1. Weights become those of a fresh nn.Linear or nn.Conv2d of PyTorch: uniform in +-1/sqrt(fan-in), which is
 *    kaiming_uniform with a = sqrt(5); biases likewise.
 * 2. Constant shapes after the head that name the number of classes name the new one.
 * 3. Declared shapes of outputs follow; those of values in between are dropped.
 * 4. Names of the old classes leave the metadata.
 */
export async function reinitHead(model: Model, wanted: NewHead): Promise<ReinitResult> {
  const { classes, seed, output, classNames } = wanted
  if (!Number.isSafeInteger(classes) || classes < 1) {
    throw new InputError(`head: expected a whole number of classes, found ${classes}`)
  }
  const head = findHead(model, output)
  head.layers.forEach((layer, i) => {
    writeLayer(layer, classes, Random.of(seed, 0x68656164, i))
  })
  await new ShapeWriter(model, head, classes).write()
  const dropped = [...model.metadata.keys()].filter(key => CLASS_METADATA.test(key))
  for (const key of dropped) model.metadata.delete(key)
  if (classNames) model.metadata.set(CLASS_NAMES, JSON.stringify(classNames))
  const layers = head.layers.map(({ node, fanIn }) => `${node.label} [${fanIn} -> ${classes}]`).join(', ')
  const notes = [
    `new head: ${layers}, ${head.classes} classes before`,
    ...(dropped.length > 0 ? [`names of the old classes left the metadata: ${dropped.join(', ')}`] : []),
  ]
  return { model, modified: true, head, notes }
}

function writeLayer(
  { weight, weightTensor, classAxis, bias, fanIn }: HeadLayer,
  classes: number,
  random: Random,
): void {
  const bound = 1 / Math.sqrt(fanIn)
  const fresh = (old: Tensor, dims: Shape) =>
    Tensor.of(
      old.dtype,
      dims,
      Array.from({ length: sizeOf(dims) }, () => (2 * random.float() - 1) * bound),
    )
  setTensor(weight, fresh(weightTensor, weightTensor.dims.with(classAxis, classes)))
  if (!bias) return
  const old = tensorOf(bias)!
  // [classes], or [1, classes, 1, 1] and the like in an Add.
  const axis = old.dims.findIndex(dim => dim > 1)
  setTensor(bias, fresh(old, axis < 0 ? old.dims.with(-1, classes) : old.dims.with(axis, classes)))
}

/** New elements for an initializer or a Constant. */
function setTensor(value: Value, tensor: Tensor): void {
  if (value.tensor) {
    value.tensor = tensor
    value.type = { kind: 'tensor', dtype: tensor.dtype, shape: tensor.dims }
  } else {
    value.producer!.attributes.set('value', { kind: 'tensor', value: tensor })
    value.type = null
  }
}

/** Operator -> its input that holds the shape of its output. */
const SHAPE_INPUTS: Readonly<Record<string, number>> = { Reshape: 1, Expand: 1, Resize: 3 }

/** Makes shapes after a head name the new number of classes. */
class ShapeWriter {
  readonly #model: Model
  readonly #head: Head
  readonly #classes: number
  readonly #names: Names

  constructor(model: Model, head: Head, classes: number) {
    this.#model = model
    this.#head = head
    this.#classes = classes
    this.#names = new Names(model.graph)
  }

  async write(): Promise<void> {
    const { graph } = this.#model
    for (const node of this.#head.after) {
      const index = node.domain === ONNX_DOMAIN ? SHAPE_INPUTS[node.opType] : undefined
      const shape = index === undefined ? null : node.inputs[index]
      if (shape) await this.#writeShape(node, index!, shape)
    }
    const outputs = new Set(graph.outputs)
    for (const node of [...this.#head.layers.map(layer => layer.node), ...this.#head.after]) {
      for (const value of node.outputs) if (value) this.#declare(value, outputs.has(value))
    }
  }

  /** A constant shape, or a constant part of one that is put together by Concat. */
  async #writeShape(node: Node, index: number, shape: Value): Promise<void> {
    const { producer } = shape
    if (!tensorOf(shape) && producer?.opType === 'Concat') {
      for (const [i, part] of producer.inputs.entries()) {
        if (part && tensorOf(part)) await this.#writeConstant(producer, i, part)
      }
      return
    }
    if (tensorOf(shape)) await this.#writeConstant(node, index, shape)
  }

  async #writeConstant(node: Node, index: number, shape: Value): Promise<void> {
    const dims = (await tensorOf(shape)!.load()).toNumbers()
    const places = dims.flatMap((dim, i) => (dim === this.#head.classes ? [i] : []))
    if (places.length === 0) return
    if (places.length > 1) {
      throw new InputError(
        `${node.label}: its shape [${dims.join()}] names ${this.#head.classes}, the number of classes, more than once`,
        { cure: 'give the model a new head before it is exported' },
      )
    }
    const tensor = Tensor.of('int64', [dims.length], dims.with(places[0]!, this.#classes).map(BigInt))
    if ((usesOf(this.#model.graph).get(shape) ?? []).length === 1) {
      setTensor(shape, tensor)
      return
    }
    const own = Value.constant(this.#names.fresh(`${shape.name}/head`), tensor)
    this.#model.graph.initializers.push(own)
    node.inputs[index] = own
  }

  /** Only outputs need a declared shape; the one of a value in between would be wrong. */
  #declare(value: Value, isOutput: boolean): void {
    const { type } = value
    if (type?.kind !== 'tensor' || !type.shape) return
    const places = type.shape.flatMap((dim, i) => (dim === this.#head.classes ? [i] : []))
    if (places.length === 0) return
    // Classes are the second dimension of images and the last one otherwise.
    const conv = this.#head.layers[0]!.node.opType === 'Conv' && type.shape.length > 2
    const axis = places.includes(1) && conv ? 1 : places.at(-1)!
    const shape = isOutput ? type.shape.with(axis, this.#classes) : null
    value.type = { ...type, shape }
  }
}
