/**
 * The tape on which rules, lowerings and programs write nodes: one method for each operator that they use, each giving
 * its output a static shape. Emitted operators are those of opset 18 and later (axes are inputs, not attributes).
 */

import { toHex } from '../util/bytes.ts'
import { invariant } from '../util/errors.ts'
import { DTYPES, type DType } from '../tensor/dtype.ts'
import { broadcastShapes, normalizeAxis, sizeOf, type Shape } from '../tensor/shape.ts'
import { Tensor } from '../tensor/tensor.ts'
import { float, int, ints, text, type Attribute } from './attribute.ts'
import { Node } from './node.ts'
import { Value } from './value.ts'

/** Attributes as rules write them: whole numbers are ints, strings are strings; `float(x)` makes a float. */
export type Attributes = Readonly<Record<string, number | string | readonly number[] | Attribute | undefined>>

export interface OutputSpec {
  readonly shape: Shape
  readonly dtype?: DType
}

/** What a scatter does with elements that meet. */
export type ScatterReduction = 'none' | 'add' | 'mul' | 'max' | 'min'

export class Builder {
  readonly nodes: Node[] = []
  readonly initializers: Value[] = []
  #scope = ''
  #count = 0
  readonly #constants = new Map<string, Value>()
  readonly #taken: Set<string>

  /** `taken`: names that exist already and must not be given again. */
  constructor(taken: Iterable<string> = []) {
    this.#taken = new Set(taken)
  }

  /** Names of values made inside `write` start with `scope/`. */
  within<T>(scope: string, write: () => T): T {
    const outer = this.#scope
    this.#scope = scope
    try {
      return write()
    } finally {
      this.#scope = outer
    }
  }

  /** A name nobody has: the wanted one, or with a counter behind it. */
  uniqueName(wanted: string): string {
    let name = wanted
    for (let i = 1; this.#taken.has(name); i++) name = `${wanted}_${i}`
    this.#taken.add(name)
    return name
  }

  /** Writes a node of any operator; its outputs get the given shapes (dtype: the first input's unless stated). */
  emit(
    opType: string,
    inputs: readonly (Value | null)[],
    outputs: readonly OutputSpec[],
    attributes: Attributes = {},
    domain = '',
  ): Value[] {
    const name = this.uniqueName(`${this.#scope ? `${this.#scope}/` : ''}${opType}_${this.#count++}`)
    const values = outputs.map((output, i) => {
      const dtype = output.dtype ?? inputs.find(input => input)?.dtype ?? 'float32'
      return Value.typed(outputs.length === 1 ? name : `${name}:${i}`, dtype, output.shape)
    })
    this.nodes.push(new Node(opType, inputs, values, { name, domain, attributes: attributeMap(attributes) }))
    return values
  }

  /** Writes a node with one output. */
  one(
    opType: string,
    inputs: readonly (Value | null)[],
    output: OutputSpec,
    attributes?: Attributes,
    domain?: string,
  ): Value {
    return this.emit(opType, inputs, [output], attributes, domain)[0]!
  }

  /** An initializer; equal small constants are made once. */
  constant(tensor: Tensor): Value {
    const small = tensor.size <= 64 && tensor.data instanceof Uint8Array
    const key = small ? `${tensor.dtype}|${tensor.dims.join()}|${toHex(tensor.data)}` : ''
    const known = small ? this.#constants.get(key) : undefined
    if (known) return known
    const value = Value.constant(this.uniqueName(`const_${this.initializers.length}`), tensor)
    this.initializers.push(value)
    if (small) this.#constants.set(key, value)
    return value
  }

  scalar(value: number, dtype: DType = 'float32'): Value {
    return this.constant(Tensor.scalar(dtype, value))
  }

  /** A scalar of the element type of `like`. */
  scalarLike(like: Value, value: number): Value {
    return this.scalar(value, like.dtype)
  }

  /** A one-dimensional int64 constant: axes, shapes, starts. */
  int64s(values: readonly number[]): Value {
    return this.constant(Tensor.of('int64', [values.length], values.map(BigInt)))
  }

  /** An int32 constant of any shape: positions. */
  int32s(shape: Shape, values: readonly number[]): Value {
    return this.constant(Tensor.of('int32', shape, values))
  }

  /** A float32 constant of any shape. */
  floats(shape: Shape, values: readonly number[]): Value {
    return this.constant(Tensor.of('float32', shape, values))
  }

  // Element-wise, with multidirectional broadcasting.
  Add = this.#binary('Add')
  Sub = this.#binary('Sub')
  Mul = this.#binary('Mul')
  Div = this.#binary('Div')
  Pow = this.#binary('Pow')
  Equal = this.#binary('Equal', 'bool')
  Greater = this.#binary('Greater', 'bool')
  GreaterOrEqual = this.#binary('GreaterOrEqual', 'bool')
  Less = this.#binary('Less', 'bool')
  LessOrEqual = this.#binary('LessOrEqual', 'bool')
  And = this.#binary('And', 'bool')
  Or = this.#binary('Or', 'bool')
  Max = this.#binary('Max')
  Min = this.#binary('Min')

  // Element-wise, one operand.
  Neg = this.#unary('Neg')
  Abs = this.#unary('Abs')
  Sign = this.#unary('Sign')
  Exp = this.#unary('Exp')
  Log = this.#unary('Log')
  Sqrt = this.#unary('Sqrt')
  Reciprocal = this.#unary('Reciprocal')
  Sigmoid = this.#unary('Sigmoid')
  Tanh = this.#unary('Tanh')
  Erf = this.#unary('Erf')
  Relu = this.#unary('Relu')
  Floor = this.#unary('Floor')
  Softplus = this.#unary('Softplus')
  Not = this.#unary('Not')
  Identity = this.#unary('Identity')

  Where(condition: Value, x: Value, y: Value): Value {
    const shape = broadcastShapes([condition.shape, x.shape, y.shape], 'Where')
    return this.one('Where', [condition, x, y], { shape, dtype: x.dtype })
  }

  Cast(x: Value, dtype: DType): Value {
    return x.dtype === dtype
      ? x
      : this.one('Cast', [x], { shape: x.shape, dtype }, { to: DTYPES[dtype].onnx })
  }

  /** N-dimensional matrix product with NumPy's batch broadcasting; both operands have rank 2 or more. */
  MatMul(a: Value, b: Value): Value {
    const batch = broadcastShapes([a.shape.slice(0, -2), b.shape.slice(0, -2)], 'MatMul')
    return this.one('MatMul', [a, b], { shape: [...batch, a.shape.at(-2)!, b.shape.at(-1)!] })
  }

  /** `alpha · A' · B' (+ C)` of two matrices. */
  Gemm(
    a: Value,
    b: Value,
    options: { transA?: boolean; transB?: boolean; alpha?: number; c?: Value } = {},
  ): Value {
    const { transA = false, transB = false, alpha = 1, c } = options
    const shape = [a.shape[transA ? 1 : 0]!, b.shape[transB ? 0 : 1]!]
    const attributes = { transA: Number(transA), transB: Number(transB), alpha: float(alpha) }
    return this.one('Gemm', c ? [a, b, c] : [a, b], { shape }, attributes)
  }

  Reshape(x: Value, shape: Shape): Value {
    invariant(sizeOf(shape) === sizeOf(x.shape), `Reshape ${x.toString()} to ${shape}`)
    if (shape.length === x.rank && shape.every((dim, i) => dim === x.shape[i])) return x
    return this.one(
      'Reshape',
      [x, this.int64s(shape)],
      { shape },
      { allowzero: shape.includes(0) ? 1 : undefined },
    )
  }

  Transpose(x: Value, perm: readonly number[]): Value {
    if (perm.every((axis, i) => axis === i)) return x
    return this.one('Transpose', [x], { shape: perm.map(axis => x.shape[axis]!) }, { perm })
  }

  Expand(x: Value, shape: Shape): Value {
    if (shape.length === x.rank && shape.every((dim, i) => dim === x.shape[i])) return x
    return this.one('Expand', [x, this.int64s(shape)], { shape: broadcastShapes([x.shape, shape], 'Expand') })
  }

  Concat(values: readonly Value[], axis: number): Value {
    if (values.length === 1) return values[0]!
    const first = values[0]!
    const at = normalizeAxis(axis, first.rank, 'Concat')
    const total = values.reduce((sum, value) => sum + value.shape[at]!, 0)
    return this.one('Concat', values, { shape: first.shape.with(at, total) }, { axis: at })
  }

  Split(x: Value, sizes: readonly number[], axis: number): Value[] {
    if (sizes.length === 1) return [x]
    const at = normalizeAxis(axis, x.rank, 'Split')
    const outputs = sizes.map(size => ({ shape: x.shape.with(at, size) }))
    return this.emit('Split', [x, this.int64s(sizes)], outputs, { axis: at })
  }

  /** Elements `start, start+step, ...` before `end` on each named axis; a negative step counts down. */
  Slice(
    x: Value,
    starts: readonly number[],
    ends: readonly number[],
    axes: readonly number[],
    steps?: readonly number[],
  ): Value {
    const shape = [...x.shape]
    axes.forEach((axis, i) => {
      const step = steps?.[i] ?? 1
      const dim = x.shape[axis]!
      const clamp = (index: number) => (step > 0 ? Math.min(index, dim) : Math.max(index, -1))
      shape[axis] = Math.max(0, Math.ceil((clamp(ends[i]!) - starts[i]!) / step))
    })
    const inputs = [x, this.int64s(starts), this.int64s(ends), this.int64s(axes)]
    return this.one('Slice', steps ? [...inputs, this.int64s(steps)] : inputs, { shape })
  }

  /** Pads with a constant; `pads` holds all begins, then all ends. Negative ones cut off, where the engine can. */
  Pad(x: Value, pads: readonly number[], value = 0): Value {
    if (pads.every(pad => pad === 0)) return x
    const shape = x.shape.map((dim, i) => dim + pads[i]! + pads[i + x.rank]!)
    const inputs = [x, this.int64s(pads)]
    return this.one(
      'Pad',
      value === 0 ? inputs : [...inputs, this.scalarLike(x, value)],
      { shape },
      { mode: 'constant' },
    )
  }

  ReduceSum = this.#reduction('ReduceSum')
  ReduceMean = this.#reduction('ReduceMean')
  ReduceMax = this.#reduction('ReduceMax')
  ReduceProd = this.#reduction('ReduceProd')
  ReduceSumSquare = this.#reduction('ReduceSumSquare')

  Softmax(x: Value, axis: number): Value {
    return this.one('Softmax', [x], { shape: x.shape }, { axis })
  }

  LogSoftmax(x: Value, axis: number): Value {
    return this.one('LogSoftmax', [x], { shape: x.shape }, { axis })
  }

  Gather(data: Value, indices: Value, axis: number): Value {
    const shape = [...data.shape.slice(0, axis), ...indices.shape, ...data.shape.slice(axis + 1)]
    return this.one('Gather', [data, indices], { shape }, { axis })
  }

  GatherElements(data: Value, indices: Value, axis: number): Value {
    return this.one('GatherElements', [data, indices], { shape: indices.shape }, { axis })
  }

  ScatterElements(
    data: Value,
    indices: Value,
    updates: Value,
    axis: number,
    reduction: ScatterReduction,
  ): Value {
    return this.one('ScatterElements', [data, indices, updates], { shape: data.shape }, { axis, reduction })
  }

  ScatterND(data: Value, indices: Value, updates: Value, reduction: ScatterReduction): Value {
    return this.one('ScatterND', [data, indices, updates], { shape: data.shape }, { reduction })
  }

  /** A tensor filled with one number. */
  full(shape: Shape, value: number, dtype: DType = 'float32'): Value {
    return this.Expand(this.scalar(value, dtype), shape)
  }

  #unary(opType: string): (x: Value) => Value {
    return x => this.one(opType, [x], { shape: x.shape })
  }

  #binary(opType: string, dtype?: DType): (a: Value, b: Value) => Value {
    return (a, b) => {
      const shape = broadcastShapes([a.shape, b.shape], opType)
      return this.one(opType, [a, b], { shape, ...(dtype ? { dtype } : {}) })
    }
  }

  #reduction(opType: string): (x: Value, axes: readonly number[], keepdims?: boolean) => Value {
    return (x, axes, keepdims = true) => {
      if (axes.length === 0) return opType === 'ReduceSumSquare' ? this.Mul(x, x) : x
      const at = axes.map(axis => normalizeAxis(axis, x.rank, opType))
      const shape = x.shape.flatMap((dim, i) => (at.includes(i) ? (keepdims ? [1] : []) : [dim]))
      return this.one(opType, [x, this.int64s(at)], { shape }, { keepdims: Number(keepdims) })
    }
  }
}

function attributeMap(attributes: Attributes): Map<string, Attribute> {
  const map = new Map<string, Attribute>()
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined) continue
    if (typeof value === 'number') map.set(name, int(value))
    else if (typeof value === 'string') map.set(name, text(value))
    else if ('kind' in value) map.set(name, value)
    else map.set(name, ints(value))
  }
  return map
}
