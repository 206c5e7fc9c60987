/**
 * Where two engines part: the first node whose inputs are equal on both, within the tolerance, and whose output is not.
 *
 * 1. All values between the nodes are compared, in the order of the graph, a part at a time: both engines run the model
 *    with some of its inner values as further outputs. A binary search would ask for fewer, but errors do not grow
 *    steadily: a Relu or a Softmax may hide what an earlier node did. In the order of the graph, the first value beyond
 *    the tolerance always belongs to a node whose inputs are within it.
 * 2. That node's inputs and outputs are asked for together. If its outputs agree now, it is run as one with nodes before
 *    it while nobody asks: a fusion. If an input does not, a fusion further up is the reason, and its node is looked at.
 * 3. The node runs by itself on both engines, with the reference's values as inputs. If it differs there too, it is the
 *    node. If not, it made the small differences of its inputs large; the search goes on for a node that differs by
 *    itself, and this one is named when there is none.
 */

import type { Model } from '../ir/graph.ts'
import type { Node } from '../ir/node.ts'
import type { Value } from '../ir/value.ts'
import type { Engine, Feeds, Runner, SessionOptions } from '../runtime/engine.ts'
import type { DType } from '../tensor/dtype.ts'
import type { Shape } from '../tensor/shape.ts'
import type { Tensor } from '../tensor/tensor.ts'
import { InterruptedError } from '../util/errors.ts'
import { differenceOf, isComparable, type Difference } from './difference.ts'
import { modelOfNode, variableInputs, withExtraOutputs } from './instrument.ts'
import { openModel } from './open-model.ts'
import type { Tolerance } from './tolerance.ts'

export interface PartingOptions {
  readonly tolerance: Tolerance
  readonly session?: SessionOptions
  /** Memory for inner values, for each engine. */
  readonly budgetBytes?: number
  readonly signal?: AbortSignal | undefined
  /** Inner values compared so far. */
  readonly onProgress?: (values: number, total: number) => void
}

/** A value beside the node: how it is on the reference, and how far the other is from it. */
export interface PartedValue {
  readonly name: string
  readonly dtype: DType
  readonly dims: Shape
  readonly difference: Difference
}

/**
 * - `node`: it computes something else from the same inputs.
 * - `inputs`: from the same inputs it computes the same; it makes their small differences large.
 * - `unclear`: it cannot run by itself.
 * - `fusion`: it differs only while its inputs are not asked for: an engine runs it as one with nodes before it.
 */
export type PartingCause = 'node' | 'inputs' | 'unclear' | 'fusion'

export interface Parting {
  /** As messages name it: `Conv "stem/conv"`. */
  readonly node: string
  readonly operator: string
  /** Its place among the nodes of the graph, from 0. */
  readonly position: number
  readonly cause: PartingCause
  /** Inputs that nodes or the caller give; those that the caller gives are equal. */
  readonly inputs: readonly PartedValue[]
  /** The output that is furthest off. */
  readonly output: PartedValue
  /** The difference of its outputs when it runs by itself, on the same inputs; null: it was not, or cannot. */
  readonly alone: number | null
}

/** Nodes that are looked at before the first is named all the same. */
const MOST_EXAMINED = 32

const BUDGET_BYTES = 256 * 2 ** 20
/** Values that are compared first, to learn how large they are; and by how much the next part may be larger. */
const FIRST_PART = 2
const GROWTH = 8
/** At most, but for float64 and int64. */
const BYTES_PER_ELEMENT = 4

/**
 * Finds it; null if the engines agree on all inner values and on the outputs too.
 *
 * @param feeds a batch on which the outputs of `model` differ beyond the tolerance
 */
export function findParting(
  engines: readonly [reference: Engine, other: Engine],
  model: Model,
  feeds: Feeds,
  options: PartingOptions,
): Promise<Parting | null> {
  return new Search(engines, model, feeds, options).find()
}

type Compared = ReadonlyMap<string, PartedValue>

class Search {
  readonly #engines: readonly [Engine, Engine]
  readonly #model: Model
  readonly #feeds: Feeds
  readonly #options: PartingOptions
  /** Every value compared so far, by name. */
  readonly #known = new Map<string, PartedValue>()
  /** Nodes that were looked at. */
  readonly #examined = new Set<Node>()

  constructor(engines: readonly [Engine, Engine], model: Model, feeds: Feeds, options: PartingOptions) {
    this.#engines = engines
    this.#model = model
    this.#feeds = feeds
    this.#options = options
    for (const [name, tensor] of feeds) this.#known.set(name, compared(name, tensor, tensor))
  }

  async find(): Promise<Parting | null> {
    const inner = innerValues(this.#model)
    const { budgetBytes = BUDGET_BYTES, onProgress } = this.#options
    let first: Parting | null = null
    let size = FIRST_PART
    for (let start = 0; start < inner.length;) {
      const part = inner.slice(start, start + size)
      const bytes = await this.#compare(part)
      start += part.length
      onProgress?.(start, inner.length)
      for (const node of new Set(part.map(value => value.producer!))) {
        if (!this.#isParting(node, this.#known) || this.#examined.size >= MOST_EXAMINED) continue
        const parting = await this.#examine(node)
        if (parting?.cause === 'node') return parting
        first ??= parting
      }
      const affordable = Math.floor((part.length * budgetBytes) / Math.max(bytes, 1))
      size = Math.max(1, Math.min(affordable, GROWTH * size))
    }
    return first ?? this.#examineOutputs()
  }

  /** Compares some inner values; returns what they take. A part that an engine refuses is tried in halves. */
  async #compare(part: readonly Value[]): Promise<number> {
    const results = await this.#runBoth(this.#model, this.#feeds, part)
    if (results !== null) {
      for (const value of results.values()) this.#known.set(value.name, value)
      return (
        BYTES_PER_ELEMENT *
        [...results.values()].reduce((sum, { difference }) => sum + difference.elements, 0)
      )
    }
    if (part.length === 1) return 0
    const middle = part.length >> 1
    return (await this.#compare(part.slice(0, middle))) + (await this.#compare(part.slice(middle)))
  }

  /** What is wrong with a node whose output is not equal though its inputs are, or with a node above it. */
  async #examine(start: Node): Promise<Parting | null> {
    for (let node = start; !this.#examined.has(node);) {
      this.#examined.add(node)
      const around = [...variableInputs(node), ...outputsOf(node)].filter(
        value => !this.#feeds.has(value.name),
      )
      const together = await this.#runBoth(this.#model, this.#feeds, around)
      if (together === null) return this.#describe(node, 'unclear', this.#known, null)
      const parted = variableInputs(node).find(({ name }) => this.#isParted(together.get(name)))
      if (parted?.producer) node = parted.producer
      else if (!this.#isParting(node, together)) return this.#describe(node, 'fusion', this.#known, null)
      else {
        const alone = await this.#runAlone(node)
        const differs = alone !== null && [...alone.values()].some(value => this.#isParted(value))
        return this.#describe(node, alone === null ? 'unclear' : differs ? 'node' : 'inputs', together, alone)
      }
    }
    return null
  }

  /** No inner value is off as long as it is asked for with others: the way goes up from the outputs. */
  async #examineOutputs(): Promise<Parting | null> {
    const plain = await this.#runBoth(this.#model, this.#feeds, [])
    const parted = this.#model.graph.outputs.find(({ name }) => this.#isParted(plain?.get(name)))
    if (!plain || !parted?.producer) return null
    this.#known.set(parted.name, plain.get(parted.name)!)
    return this.#examine(parted.producer)
  }

  /** The node's outputs from the reference's inputs, on both engines; null if it cannot run by itself. */
  async #runAlone(node: Node): Promise<Compared | null> {
    const inner = variableInputs(node).filter(({ name }) => !this.#feeds.has(name))
    const given =
      inner.length === 0
        ? new Map<string, Tensor>()
        : await this.#run(0, withExtraOutputs(this.#model, inner), this.#feeds)
    if (!given || inner.some(({ name }) => !given.has(name))) return null
    const feeds = new Map([...this.#feeds, ...given])
    const outputs = outputsOf(node).filter(({ name }) => this.#known.has(name))
    return this.#runBoth(modelOfNode(this.#model, node, feeds, outputs), feeds, [])
  }

  /** Runs a model with further outputs on both engines; null where one of them cannot. */
  async #runBoth(model: Model, feeds: Feeds, values: readonly Value[]): Promise<Compared | null> {
    const extended = withExtraOutputs(model, values)
    const expected = await this.#run(0, extended, feeds)
    const found = expected && (await this.#run(1, extended, feeds))
    if (!expected || !found) return null
    const both = [...expected].filter(([name]) => found.has(name))
    return new Map(both.map(([name, tensor]) => [name, compared(name, tensor, found.get(name)!)]))
  }

  /** The comparable outputs of a model on one of the engines; null where it cannot run it. */
  async #run(which: 0 | 1, model: Model, feeds: Feeds): Promise<Map<string, Tensor> | null> {
    if (this.#options.signal?.aborted) throw new InterruptedError('the search for the node was interrupted')
    let runner: Runner | null = null
    try {
      runner = await openModel(this.#engines[which], model, this.#options.session ?? {})
      const { inputs, outputs } = runner
      const wanted = outputs.filter(({ dtype }) => isComparable(dtype)).map(({ name }) => name)
      return await runner.run(
        new Map([...feeds].filter(([name]) => inputs.some(input => input.name === name))),
        wanted,
      )
    } catch {
      // Why it cannot does not matter: the value is of a type that does not leave the engine, or the node needs its graph.
      return null
    } finally {
      await runner?.close()
    }
  }

  /** Whether a node's inputs are equal, and an output is not. */
  #isParting(node: Node, values: Compared): boolean {
    const isParted = ({ name }: Value) => this.#isParted(values.get(name))
    return outputsOf(node).some(isParted) && !variableInputs(node).some(isParted)
  }

  #isParted(value: PartedValue | undefined): boolean {
    return value !== undefined && value.difference.relative > this.#options.tolerance(value.dtype)
  }

  #describe(node: Node, cause: PartingCause, values: Compared, alone: Compared | null): Parting {
    const known = ({ name }: Value) => values.get(name) ?? this.#known.get(name) ?? []
    const outputs = outputsOf(node).flatMap(known)
    return {
      node: node.label,
      operator: node.opType,
      position: this.#model.graph.nodes.indexOf(node),
      cause,
      inputs: variableInputs(node).flatMap(known),
      output: outputs.reduce((worst, value) => (relativeOf(value) > relativeOf(worst) ? value : worst)),
      alone: alone && Math.max(...[...alone.values()].map(relativeOf)),
    }
  }
}

const relativeOf = ({ difference }: PartedValue) => difference.relative

/** What nodes make, in the order of the graph; engines do not compute Constant nodes. */
function innerValues({ graph }: Model): Value[] {
  return graph.nodes.filter(({ opType }) => opType !== 'Constant').flatMap(outputsOf)
}

function outputsOf(node: Node): Value[] {
  return node.outputs.filter(value => value !== null)
}

function compared(name: string, reference: Tensor, other: Tensor): PartedValue {
  return { name, dtype: reference.dtype, dims: reference.dims, difference: differenceOf(reference, other) }
}
