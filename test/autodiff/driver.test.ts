/** The walk itself: what it emits, where it stops, what it refuses. */

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { differentiate, pullBack, RULES } from '../../src/autodiff/index.ts'
import { broadcasting, rule, type RuleTable } from '../../src/autodiff/rule.ts'
import { Builder } from '../../src/ir/builder.ts'
import { Graph } from '../../src/ir/graph.ts'
import { Node } from '../../src/ir/node.ts'
import { printGraph, printNode } from '../../src/ir/print.ts'
import { Value } from '../../src/ir/value.ts'
import { Tensor } from '../../src/tensor/tensor.ts'
import { checkGrads } from '../support/check-grads.ts'
import { errorOf } from '../support/errors.ts'

const OPTIONS = { rules: RULES, opset: 18 }
const input = (name: string, ...shape: number[]) => Value.typed(name, 'float32', shape)

/** Differentiates what `write` returned and gives the emitted nodes as text. */
function emitted(
  names: readonly string[],
  targets: readonly Value[],
  write: (op: Builder) => Value,
  options: Partial<Parameters<typeof differentiate>[4]> = {},
): { text: string; gradients: Map<Value, Value>; op: Builder } {
  const op = new Builder(names)
  const loss = write(op)
  const forward = op.nodes.length
  const gradients = differentiate(op, op.nodes, loss, targets, { ...OPTIONS, ...options })
  return { text: op.nodes.slice(forward).map(printNode).join('\n'), gradients, op }
}

test('a linear layer with Relu: the whole gradient graph', () => {
  const [x, w, b] = [input('x', 2, 3), input('w', 4, 3), input('b', 4)]
  const op = new Builder(['x', 'w', 'b'])
  const y = op.Relu(op.Gemm(x, w, { transB: true, c: b }))
  const loss = op.ReduceMean(y, [0, 1], false)
  const gradients = differentiate(op, op.nodes, loss, [w, b], OPTIONS)
  const graph = new Graph('linear')
  graph.inputs = [x, w, b]
  graph.outputs = [...gradients.values()]
  graph.nodes = op.nodes
  assert.snapshot(
    printGraph(graph),
    `graph linear (x<float32,[2,3]>, w<float32,[4,3]>, b<float32,[4]>)
  Gemm_0<float32,[2,4]> = Gemm {transA=0 transB=1 alpha=1} (x, w, b)
  Relu_1<float32,[2,4]> = Relu (Gemm_0)
  ReduceMean_2<float32,[]> = ReduceMean {keepdims=0} (Relu_1, const_0)
  ReduceMean_2_grad/Reshape_3<float32,[1,1]> = Reshape (const_1, const_2)
  ReduceMean_2_grad/Mul_4<float32,[1,1]> = Mul (ReduceMean_2_grad/Reshape_3, const_3)
  Relu_1_grad<float32,[2,4]> = Expand (ReduceMean_2_grad/Mul_4, const_4)
  Relu_1_grad/Greater_6<bool,[2,4]> = Greater (Relu_1, const_5)
  Gemm_0_grad<float32,[2,4]> = Where (Relu_1_grad/Greater_6, Relu_1_grad, const_5)
  w_grad<float32,[4,3]> = Gemm {transA=1 transB=0 alpha=1} (Gemm_0_grad, x)
  b_grad<float32,[4]> = ReduceSum {keepdims=0} (Gemm_0_grad, const_6)
  return w_grad<float32,[4,3]>, b_grad<float32,[4]>`,
  )
})

test('fan-out: contributions are added pairwise as they arrive', () => {
  const x = input('x')
  const { text } = emitted(['x'], [x], op => {
    const y = op.Exp(x)
    return op.Add(op.Neg(y), op.Add(op.Neg(y), y))
  })
  assert.snapshot(
    text,
    `Neg_2_grad/Neg_5<float32,[]> = Neg (const_0)
Neg_2_grad/Add_6<float32,[]> = Add (const_0, Neg_2_grad/Neg_5)
Neg_1_grad/Neg_7<float32,[]> = Neg (const_0)
Exp_0_grad<float32,[]> = Add (Neg_2_grad/Add_6, Neg_1_grad/Neg_7)
x_grad<float32,[]> = Mul (Exp_0_grad, Exp_0)`,
  )
})

test('a value used twice by one node gets both contributions', async () => {
  await checkGrads({ op: 'x·x', inputs: [[2, 3]], build: (op, [x]) => [op.Mul(x!, x!)] })
  await checkGrads({
    op: 'x/x²',
    inputs: [[4]],
    domain: [1, 2],
    build: (op, [x]) => [op.Div(x!, op.Mul(x!, x!))],
  })
})

test('shared weights: gradients of all uses add up', async () => {
  await checkGrads({
    op: 'tied layers',
    inputs: [[2, 3], [3, 3], [3]],
    build: (op, [x, w, b]) => {
      const layer = (h: Value) => op.Tanh(op.Gemm(h, w!, { c: b! }))
      return [layer(layer(layer(x!)))]
    },
  })
})

test('several outputs, and a target between them', async () => {
  await checkGrads({
    op: 'two outputs',
    inputs: [[2, 3], [3]],
    build: (op, [x, s]) => {
      const y = op.Mul(x!, s!)
      return [y, op.Sigmoid(y)]
    },
  })
  const x = input('x')
  const op = new Builder(['x'])
  const middle = op.Exp(x)
  const loss = op.Mul(middle, middle)
  const gradients = differentiate(op, op.nodes, loss, [middle, x], OPTIONS)
  assert.is(gradients.get(middle)!.name, `${middle.name}_grad`)
  assert.is(gradients.get(x)!.producer?.inputs.includes(gradients.get(middle)!), true)
})

test('frozen branches emit nothing', () => {
  const [x, w, frozen] = [input('x', 2, 3), input('w', 3, 4), input('frozen', 3, 3)]
  const { text } = emitted(['x', 'w', 'frozen'], [w], op => {
    const h = op.Relu(op.MatMul(x, frozen))
    return op.ReduceSum(op.MatMul(h, w), [0, 1], false)
  })
  assert.snapshot(
    text,
    `ReduceSum_3_grad/Reshape_4<float32,[1,1]> = Reshape (const_1, const_2)
MatMul_2_grad<float32,[2,4]> = Expand (ReduceSum_3_grad/Reshape_4, const_3)
w_grad<float32,[3,4]> = Gemm {transA=1 transB=0 alpha=1} (Relu_1, MatMul_2_grad)`,
  )
})

test('nodes behind the loss, and beside it, emit nothing', () => {
  const x = input('x')
  const op = new Builder(['x'])
  const loss = op.Exp(x)
  op.Tanh(loss)
  op.one('Det', [x], { shape: [] })
  const before = op.nodes.length
  differentiate(op, op.nodes, loss, [x], OPTIONS)
  assert.equal(
    op.nodes.slice(before).map(node => node.opType),
    ['Mul'],
  )
})

test('the loss itself, identities and constants', () => {
  const x = input('x')
  const { gradients } = emitted(['x'], [x], op => op.Identity(op.Identity(x)))
  assert.equal(gradients.get(x)!.tensor!.toNumbers(), [1])

  const loss = input('loss')
  assert.equal(
    emitted(['loss'], [loss], () => loss)
      .gradients.get(loss)!
      .tensor!.toNumbers(),
    [1],
  )
})

test('a target that the loss does not depend on gets zeros, or an error', async () => {
  const [x, unused] = [input('x'), input('unused', 2, 3)]
  const { text, gradients } = emitted(['x', 'unused'], [x, unused], op => op.Exp(x))
  assert.match(text, /unused_grad\/Expand_\d+<float32,\[2,3\]> = Expand/)
  assert.equal(gradients.get(unused)!.shape, [2, 3])

  const error = await errorOf(() => emitted(['x'], [unused], op => op.Exp(x), { unreached: 'error' }))
  assert.is(error.message, 'gradient: the loss does not depend on %"unused"<float32,[2,3]>')
})

test('gradients stop at operators without a derivative', () => {
  const x = input('x', 3)
  const { gradients, text } = emitted(['x'], [x], op => {
    const steps = op.Floor(x)
    const counted = op.Cast(op.Cast(op.Greater(x, steps), 'int64'), 'float32')
    return op.ReduceSum(op.Add(op.Mul(x, steps), counted), [0], false)
  })
  assert.ok(gradients.get(x))
  assert.not.match(text, /= (Floor|Cast|Greater)/)
})

test('an unsupported operator is named where a gradient reaches it, and only there', async () => {
  const x = input('x', 2, 2)
  const det = (op: Builder, value: Value) => op.one('Det', [value], { shape: [] })
  const error = await errorOf(() => emitted(['x'], [x], op => op.Exp(det(op, op.Exp(x)))))
  assert.is(error.message, 'gradient: no rule for Det "Det_1" (domain ai.onnx, opset 18)')
  assert.is(error.cure, 'freeze the parameters that feed this node, or export the model with other operators')
  assert.is(error.exitCode, 3)

  const frozen = input('frozen', 2, 2)
  emitted(['x', 'frozen'], [x], op => op.ReduceSum(op.Mul(x, det(op, frozen)), [0, 1], false))
})

test('operators of other domains are looked up by their full name', async () => {
  const x = input('x', 2)
  const custom = (op: Builder) =>
    op.ReduceSum(op.one('Gelu', [x], { shape: [2] }, {}, 'com.example'), [0], false)
  const error = await errorOf(() => emitted(['x'], [x], custom))
  assert.is(error.message, 'gradient: no rule for com.example.Gelu "Gelu_0" (domain com.example, opset 1)')
  const rules = { ...RULES, 'com.example.Gelu': rule(({ dy }) => [dy]) }
  assert.ok(emitted(['x'], [x], custom, { rules }).gradients.get(x))
})

test('control flow on the path is refused by name, also for captured values', async () => {
  const x = input('x')
  const body = new Graph('then')
  const inner = new Node('Exp', [x], [input('inner')], { name: 'exp' })
  body.nodes = [inner]
  body.outputs = [inner.output(0)]
  const error = await errorOf(() =>
    emitted(['x'], [x], op => {
      const y = input('y')
      const attributes = new Map([['then_branch', { kind: 'graph', value: body } as const]])
      op.nodes.push(new Node('If', [input('c')], [y], { name: 'choose', attributes }))
      return op.Neg(y)
    }),
  )
  assert.is(
    error.message,
    'gradient: no rule for If "choose" (domain ai.onnx, opset 18): it runs a sub-graph',
  )
  assert.is(error.cure, 'export the model without control flow, or freeze the parameters that feed this node')
})

test('the highest rule version not above the opset applies', async () => {
  const tagged =
    (k: number): RuleTable[string]['versions'][number] =>
    ({ op, dy }) => [op.Mul(dy, op.scalar(k))]
  const rules: RuleTable = { Exp: { versions: { 6: tagged(6), 13: tagged(13), 20: tagged(20) } } }
  const x = input('x')
  const factor = (opset: number) => {
    const { gradients } = emitted(['x'], [x], op => op.Exp(x), { rules, opset })
    return gradients.get(x)!.producer!.input(1).tensor!.toNumbers()[0]
  }
  assert.equal([6, 12, 13, 19, 20, 23].map(factor), [6, 6, 13, 13, 20, 20])
  const error = await errorOf(() => factor(5))
  assert.is(error.message, 'gradient: the rules for Exp "Exp_0" (domain ai.onnx, opset 5) begin at opset 6')
})

test('wrong rules are internal errors that name node and rule', async () => {
  const [x, y] = [input('x', 2), input('y', 2)]
  const fails = async (row: RuleTable[string]) => {
    const rules = { Mul: row, ReduceSum: RULES['ReduceSum']! }
    const write = (op: Builder) => op.ReduceSum(op.Mul(x, y), [0], false)
    return (await errorOf(() => emitted(['x', 'y'], [x, y], write, { rules }))).message
  }
  assert.is(
    await fails(rule(({ dy }) => [dy])),
    'internal: the gradient rule of Mul "Mul_0" (since opset 1) returned 1 gradients',
  )
  assert.is(
    await fails(rule(({ dy }) => [dy, dy, dy])),
    'internal: the gradient rule of Mul "Mul_0" (since opset 1) returned a gradient for an input that is not there',
  )
  assert.is(
    await fails(rule(({ op, dy }) => [dy, op.Reshape(dy, [2, 1])])),
    'internal: the gradient rule of Mul "Mul_0" (since opset 1) returned float32[2,1] for input 1, expected float32[2]',
  )
  assert.is(
    await fails(rule(({ op, dy }) => [op.Cast(dy, 'float64'), dy])),
    'internal: the gradient rule of Mul "Mul_0" (since opset 1) returned float64[2] for input 0, expected float32[2]',
  )
  assert.is(
    await fails(broadcasting(({ op, dy }) => [dy, op.full([3], 1)])),
    'internal: gradient %"Mul_0_grad/Expand_4"<float32,[3]> cannot be summed to [2]',
  )
  assert.is(
    await fails(rule(({ grads }) => [grads[0]!, grads[1]!])),
    'internal: the gradient rule of Mul "Mul_0" (since opset 1) returned 2 gradients',
  )
})

test('targets, losses and seeds are checked', async () => {
  const [x, labels] = [input('x', 2), Value.typed('labels', 'int64', [2])]
  assert.is(
    (await errorOf(() => emitted(['x'], [labels], op => op.ReduceSum(x, [0], false)))).message,
    'gradient: %"labels"<int64,[2]> is not a tensor of real numbers',
  )
  assert.is(
    (await errorOf(() => emitted(['x'], [x], op => op.Exp(x)))).message,
    'internal: the loss should be a scalar, found %"Exp_0"<float32,[2]>',
  )
  const op = new Builder(['x'])
  const y = op.Exp(x)
  const error = await errorOf(() => pullBack(op, op.nodes, new Map([[y, input('dy', 3)]]), [x], OPTIONS))
  assert.is(error.message, 'internal: seed %"dy"<float32,[3]> of %"Exp_0"<float32,[2]> has another type')
})

test('an input that must be constant and is not', async () => {
  const [x, axes] = [input('x', 2, 3), Value.typed('axes', 'int64', [1])]
  const error = await errorOf(() =>
    emitted(['x', 'axes'], [x], op =>
      op.ReduceSum(op.one('ReduceMax', [x, axes], { shape: [2, 1] }), [0, 1], false),
    ),
  )
  assert.is(
    error.message,
    'gradient: input 1 (%"axes"<int64,[1]>) of ReduceMax "ReduceMax_0" should be constant, found a computed value',
  )
})

test('a Pad mode that is none', async () => {
  const x = input('x', 2)
  const pad = (op: Builder) => op.one('Pad', [x, op.int64s([1, 1])], { shape: [4] }, { mode: 'mirror' })
  const error = await errorOf(() => emitted(['x'], [x], op => op.ReduceSum(pad(op), [0], false)))
  assert.is(error.message, 'gradient: Pad "Pad_0" has mode mirror, expected constant, reflect, edge, wrap')
})

test('the output of a Constant node counts as constant', () => {
  const [x, axes] = [input('x', 2, 3), Value.typed('axes', 'int64', [1])]
  const value = { kind: 'tensor', value: Tensor.of('int64', [1], [1n]) } as const
  const { gradients } = emitted(['x', 'axes'], [x], op => {
    op.nodes.push(new Node('Constant', [], [axes], { attributes: new Map([['value', value]]) }))
    return op.ReduceSum(op.one('ReduceMax', [x, axes], { shape: [2, 1] }), [0, 1], false)
  })
  assert.equal(gradients.get(x)!.shape, [2, 3])
})

test('a chain of ten thousand nodes is differentiated without recursion', () => {
  const x = input('x')
  const { op } = emitted(['x'], [x], tape => {
    let y = x
    for (let i = 0; i < 10_000; i++) y = tape.Tanh(y)
    return y
  })
  assert.is(op.nodes.length, 10_000 * 4)
})

test.run()
