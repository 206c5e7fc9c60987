/** Says what became of a model's batch normalization: kept, written out, folded into convolutions, or never there. */

import type { Model } from '../ir/graph.ts'
import { ONNX_DOMAIN, type Node } from '../ir/node.ts'
import { usesOf, walkNodes, type Use } from '../ir/topology.ts'
import type { Value } from '../ir/value.ts'
import { findBatchNorms, isBatchNorm, sourceOf, tensorOf, type BatchNormSite } from '../passes/index.ts'

export interface BatchNormDiagnosis {
  readonly state: 'present' | 'decomposed' | 'folded' | 'none'
  readonly sites: readonly BatchNormSite[]
  /** One sentence for the person. */
  readonly summary: string
  /** What was counted, one fact a line. */
  readonly evidence: readonly string[]
}

/** A deep net whose convolutions nearly all have a bias and go straight on was normalised once. */
const FOLDED_CONVOLUTIONS = 5
const FOLDED_SHARE = 0.8

/** Looks at the operators around each convolution. */
export function diagnoseBatchNorm(model: Model): BatchNormDiagnosis {
  const sites = findBatchNorms(model)
  const counts = countConvolutions(model)
  const evidence = evidenceOf(sites, counts, model)
  const { blocks, biased, writtenOut, generated } = counts
  const n = (count: number, noun: string) => `${count} ${noun}${count === 1 ? '' : 's'}`
  const looksFolded =
    biased > 0 && (generated > 0 || (biased >= FOLDED_CONVOLUTIONS && biased >= FOLDED_SHARE * blocks))
  if (sites.length > 0) {
    const more = biased >= FOLDED_CONVOLUTIONS ? `; more look folded into ${n(biased, 'convolution')}` : ''
    const summary = `${n(sites.length, 'batch normalization')} with stored statistics${more}`
    return { state: 'present', sites, summary, evidence }
  }
  if (writtenOut > 0) {
    const summary = `batch normalization looks written out as arithmetic after ${n(writtenOut, 'convolution')}; there is nothing to recalibrate`
    return { state: 'decomposed', sites, summary, evidence }
  }
  if (looksFolded) {
    const summary = `batch normalization looks folded into ${biased} of ${n(blocks, 'convolution')}; there is nothing to recalibrate`
    return { state: 'folded', sites, summary, evidence }
  }
  return { state: 'none', sites, summary: 'the model has no batch normalization', evidence }
}

interface Counts {
  /** Convolutions, but for those of squeeze-and-excitation, which are not normalised. */
  readonly blocks: number
  /** Of these: with a bias and no normalization behind. */
  readonly biased: number
  /** Of these: channel by channel, as in MobileNets, which are trained with batch normalization. */
  readonly depthwise: number
  /** Of the biased ones: with names like `onnx::Conv_193`, which an exporter gives to weights that it computed. */
  readonly generated: number
  /** Convolutions with per-channel arithmetic behind. */
  readonly writtenOut: number
}

const CONVOLUTIONS: ReadonlySet<string> = new Set(['Conv', 'ConvTranspose'])
const GENERATED_NAME = /^onnx::Conv|fused|folded/i

function countConvolutions(model: Model): Counts {
  const uses = usesOf(model.graph)
  const counts = { blocks: 0, biased: 0, depthwise: 0, generated: 0, writtenOut: 0 }
  for (const node of walkNodes(model.graph)) {
    if (node.domain !== ONNX_DOMAIN || !CONVOLUTIONS.has(node.opType) || isGate(node)) continue
    counts.blocks++
    if (isDepthwise(node)) counts.depthwise++
    const next = uses.get(node.output(0)) ?? []
    if (isWrittenOut(next, uses)) counts.writtenOut++
    else if (node.inputs[2] && !next.some(use => isBatchNorm(use.node))) {
      counts.biased++
      if (GENERATED_NAME.test(sourceOf(node.input(1)).name)) counts.generated++
    }
  }
  return counts
}

/** How far back the pooling of a gate is looked for. */
const GATE_DEPTH = 12
const POOLED: ReadonlySet<string> = new Set(['GlobalAveragePool', 'ReduceMean'])

/** A convolution of squeeze-and-excitation: pooled to one position, with other gate operators between. */
function isGate(node: Node): boolean {
  let before: Node | null = node.inputs[0]?.producer ?? null
  for (let depth = 0; before && depth < GATE_DEPTH; depth++) {
    if (POOLED.has(before.opType)) return true
    if (isBatchNorm(before) || before.inputs.filter(input => input && !tensorOf(input)).length > 1)
      return false
    before = before.inputs[0]?.producer ?? null
  }
  return false
}

function isDepthwise(node: Node): boolean {
  const groups = node.int('group', 1)
  return groups > 1 && groups === tensorOf(sourceOf(node.input(1)))?.dims[0]
}

/** `Mul` and `Add`, or `Sub` and `Div`, with one number per channel each. */
function isWrittenOut(next: readonly Use[], uses: ReadonlyMap<Value, readonly Use[]>): boolean {
  return next.some(({ node }) => {
    if (!['Mul', 'Sub'].includes(node.opType) || !hasChannelOperand(node)) return false
    const wanted = node.opType === 'Mul' ? ['Add', 'Sub'] : ['Div', 'Mul']
    return (uses.get(node.output(0)) ?? []).some(
      use => wanted.includes(use.node.opType) && hasChannelOperand(use.node),
    )
  })
}

/** An operand, a weight or computed from weights, of shape [C,1,1] or [1,C,1,1]. */
function hasChannelOperand(node: Node): boolean {
  return node.inputs.some(input => {
    const dims = input && weightDims(input)
    return dims && dims.length >= 3 && dims.filter(dim => dim > 1).length === 1 && dims.at(-1) === 1
  })
}

/** Dims of a weight, or of the larger weight that `Sqrt(Add(v, epsilon))` and its like are computed from. */
function weightDims(value: Value, depth = 4): readonly number[] | null {
  const tensor = tensorOf(value)
  if (tensor) return tensor.dims
  if (!value.producer || depth === 0) return null
  const operands = value.producer.inputs.filter(input => input !== null)
  const dims = operands.map(input => weightDims(input, depth - 1))
  if (dims.length === 0 || dims.some(known => known === null)) return null
  return dims.sort((a, b) => b!.length - a!.length)[0]!
}

function evidenceOf(sites: readonly BatchNormSite[], counts: Counts, model: Model): string[] {
  const evidence: string[] = []
  const say = (count: number, text: string) => {
    if (count > 0) evidence.push(`${count} ${text}`)
  }
  const training = sites.filter(site => site.form === 'training').length
  say(sites.length, 'BatchNormalization nodes whose mean and variance are weights')
  say(training, 'of them in training form: as exported, they ignore the stored statistics')
  say(counts.blocks, 'convolutions, those of squeeze-and-excitation gates not counted')
  say(counts.biased, 'of them with a bias and no normalization behind')
  say(counts.generated, 'of these with weights named by the exporter, which does so when it folds')
  say(
    counts.depthwise,
    'depthwise convolutions, as in architectures that are trained with batch normalization',
  )
  say(counts.writtenOut, 'convolutions with per-channel arithmetic behind')
  for (const opType of ['LayerNormalization', 'GroupNormalization', 'InstanceNormalization']) {
    const count = [...walkNodes(model.graph)].filter(node => node.opType === opType).length
    say(count, `${opType} nodes, which keep no running statistics`)
  }
  return evidence
}
