/**
 * Einsum as transpositions, sums and matrix products (ONNX: Einsum 12, in NumPy's notation).
 *
 * 1. Every axis of an operand has a label; those of an ellipsis are labelled by their distance from its end. A label that an
 *    operand has twice is its diagonal. Axes of one element are left out where other operands have more: they broadcast.
 * 2. A label of one operand only, which the output lacks, is summed in that operand.
 * 3. Operands are joined from left to right. Labels of both that nobody needs later are contracted by a MatMul.
 */

import type { Builder } from '../../ir/builder.ts'
import type { Node } from '../../ir/node.ts'
import type { Value } from '../../ir/value.ts'
import { sizeOf } from '../../tensor/shape.ts'
import { Tensor } from '../../tensor/tensor.ts'
import { InputError } from '../../util/errors.ts'
import type { Expansion } from '../expansion.ts'

type Labels = readonly string[]

/** A value and the label of each of its axes. */
interface Labelled {
  readonly value: Value
  readonly labels: Labels
}

export const einsum: Expansion = (op, node) => {
  const inputs = node.inputs.map((_, i) => node.input(i))
  const { operands, output } = labelsOf(node, inputs)
  const sizes = sizesOf(node, inputs, operands)
  const whole = inputs.map((value, i) =>
    withoutOnes(op, diagonal(op, { value, labels: operands[i]! }), sizes),
  )
  const [first, ...others] = whole as [Labelled, ...Labelled[]]
  const joined = others.reduce((left, right, i) => {
    const later = [...output, ...others.slice(i + 1).flatMap(({ labels }) => labels)]
    return join(op, left, right, later)
  }, first)
  return ordered(op, summed(op, joined, output), output).value
}

/** The labels of operands and output, ellipses written out. */
function labelsOf(node: Node, inputs: readonly Value[]): { operands: Labels[]; output: Labels } {
  const equation = node.string('equation', '').replaceAll(' ', '')
  const fail = (found: string): never => {
    throw new InputError(`${node.label}: equation "${equation}" ${found}`)
  }
  const [left, right, ...surplus] = equation.split('->') as [string, ...string[]]
  const terms = left.split(',')
  const known = /^[a-zA-Z]*(\.\.\.)?[a-zA-Z]*$/
  if (surplus.length > 0 || [...terms, right ?? ''].some(term => !known.test(term))) {
    return fail('should be terms of letters with at most one ellipsis each, such as "...ij,jk->...ik"')
  }
  if (terms.length !== inputs.length) return fail(`has ${terms.length} terms for ${inputs.length} inputs`)
  const operands = terms.map((term, i) => {
    const letters = term.replace('...', '').length
    const rank = inputs[i]!.rank
    const rest = rank - letters
    if (rest < 0 || (rest > 0 && !term.includes('...'))) {
      return fail(`has ${letters} letters for input ${i} of rank ${rank}`)
    }
    return spelledOut(term, rest)
  })
  const most = Math.max(0, ...operands.map(labels => labels.filter(isHidden).length))
  const all = operands.flat().filter(label => !isHidden(label))
  const single = [...new Set(all)].filter(label => all.indexOf(label) === all.lastIndexOf(label)).sort()
  const output = right === undefined ? spelledOut(`...${single.join('')}`, most) : spelledOut(right, most)
  const lost = output.find((label, i) => !operands.flat().includes(label) || output.indexOf(label) !== i)
  if (lost !== undefined)
    return fail(`has "${lost}" in its output, which is no label of an input or is there twice`)
  return { operands, output }
}

/** One label for each axis, where an ellipsis stands for `hidden` axes: `.1` is the last but one of them. */
function spelledOut(term: string, hidden: number): Labels {
  const [before, after] = term.split('...') as [string, string?]
  if (after === undefined) return Array.from(before)
  return [
    ...Array.from(before),
    ...Array.from({ length: hidden }, (_, i) => `.${hidden - 1 - i}`),
    ...Array.from(after),
  ]
}

function isHidden(label: string): boolean {
  return label.startsWith('.')
}

/** The size of each label: that of all its axes which are not one. */
function sizesOf(node: Node, inputs: readonly Value[], operands: readonly Labels[]): Map<string, number> {
  const sizes = new Map<string, number>()
  operands.forEach((labels, i) =>
    labels.forEach((label, axis) => {
      const [known, dim] = [sizes.get(label) ?? 1, inputs[i]!.shape[axis]!]
      if (known !== 1 && dim !== 1 && known !== dim) {
        throw new InputError(`${node.label}: label "${label}" has ${known} and ${dim} elements`)
      }
      sizes.set(label, known === 1 ? dim : known)
    }),
  )
  return sizes
}

/** Of axes with one label, the elements at which all their indices are equal, as one axis. */
function diagonal(op: Builder, { value, labels }: Labelled): Labelled {
  const again = labels.findIndex((label, axis) => labels.indexOf(label) < axis)
  if (again < 0) return { value, labels }
  const axis = labels.indexOf(labels[again]!)
  const size = value.shape[axis]!
  const eye = Array.from({ length: size * size }, (_, i) => Number(i % (size + 1) === 0))
  const line = value.shape.map((_, i) => (i === axis || i === again ? size : 1))
  const masked = op.Mul(value, op.constant(Tensor.of(value.dtype, line, eye)))
  return diagonal(op, { value: op.ReduceSum(masked, [again], false), labels: labels.toSpliced(again, 1) })
}

/** Without the axes along which the operand is repeated. */
function withoutOnes(op: Builder, { value, labels }: Labelled, sizes: ReadonlyMap<string, number>): Labelled {
  const isKept = (label: string, axis: number) => value.shape[axis] === sizes.get(label)
  const shape = value.shape.filter((_, axis) => isKept(labels[axis]!, axis))
  return { value: op.Reshape(value, shape), labels: labels.filter(isKept) }
}

/** Without the labels that are not needed. */
function summed(op: Builder, { value, labels }: Labelled, needed: Labels): Labelled {
  const axes = labels.flatMap((label, axis) => (needed.includes(label) ? [] : [axis]))
  return {
    value: op.ReduceSum(value, axes, false),
    labels: labels.filter(label => needed.includes(label)),
  }
}

/** With the axes in the order of `wanted`, which has the same labels. */
function ordered(op: Builder, { value, labels }: Labelled, wanted: Labels): Labelled {
  return {
    value: op.Transpose(
      value,
      wanted.map(label => labels.indexOf(label)),
    ),
    labels: wanted,
  }
}

/** The product of two operands, summed over the labels that are not needed later. */
function join(op: Builder, left: Labelled, right: Labelled, later: Labels): Labelled {
  const a = summed(op, left, [...right.labels, ...later])
  const b = summed(op, right, [...left.labels, ...later])
  const shared = a.labels.filter(label => b.labels.includes(label))
  const batch = shared.filter(label => later.includes(label))
  const inner = shared.filter(label => !later.includes(label))
  const rows = a.labels.filter(label => !shared.includes(label))
  const columns = b.labels.filter(label => !shared.includes(label))
  const x = ordered(op, a, [...batch, ...rows, ...inner]).value
  const y = ordered(op, b, [...batch, ...inner, ...columns]).value
  const outer = x.shape.slice(0, batch.length)
  const dims = {
    rows: x.shape.slice(batch.length, batch.length + rows.length),
    inner: y.shape.slice(batch.length, batch.length + inner.length),
    columns: y.shape.slice(batch.length + inner.length),
  }
  const product = () => {
    if (inner.length === 0)
      return op.Mul(
        op.Reshape(x, [...x.shape, ...columns.map(() => 1)]),
        op.Reshape(y, [...outer, ...rows.map(() => 1), ...dims.columns]),
      )
    const depth = sizeOf(dims.inner)
    return op.MatMul(
      op.Reshape(x, [...outer, sizeOf(dims.rows), depth]),
      op.Reshape(y, [...outer, depth, sizeOf(dims.columns)]),
    )
  }
  return {
    value: op.Reshape(product(), [...outer, ...dims.rows, ...dims.columns]),
    labels: [...batch, ...rows, ...columns],
  }
}
