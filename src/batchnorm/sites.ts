/** Groups batch normalizations by the running statistics they read: a module that is used twice has one pair. */

import { UnsupportedError } from '../util/errors.ts'
import type { Tensor } from '../tensor/tensor.ts'
import type { Model } from '../ir/graph.ts'
import { usesOf, type Use } from '../ir/topology.ts'
import type { Value } from '../ir/value.ts'
import { isBatchNorm, keepsElements, tensorOf, type BatchNormSite } from '../passes/index.ts'

/** One pair of running statistics and the nodes that read it. */
export interface StatisticsGroup {
  readonly mean: Tensor
  readonly variance: Tensor
  readonly meanName: string
  readonly varianceName: string
  readonly sites: readonly BatchNormSite[]
}

/**
 * One group for each pair of mean and variance tensors, in graph order. Refuses tensors that serve two ends, since new
 * numbers would be right for one of them only: half of a pair shared, or a statistic that other nodes read too.
 */
export function groupSites(model: Model, sites: readonly BatchNormSite[]): StatisticsGroup[] {
  const groups = new Map<Tensor, BatchNormSite[]>()
  const owners = new Map<Tensor, { role: string; site: BatchNormSite; other: Tensor }>()
  const uses = usesOf(model.graph)
  for (const site of sites) {
    const mean = tensorOf(site.mean)!
    const variance = tensorOf(site.variance)!
    for (const [role, tensor, other, value] of [
      ['running mean', mean, variance, site.mean],
      ['running variance', variance, mean, site.variance],
    ] as const) {
      const owner = owners.get(tensor)
      if (owner && (owner.role !== role || owner.other !== other)) {
        throw new UnsupportedError(
          `${site.label}: its ${role} "${value.name}" is the ${owner.role} of ${owner.site.label} too`,
          { cure: CURE },
        )
      }
      owners.set(tensor, { role, site, other })
      const stranger = otherReader(value, uses)
      if (stranger) {
        throw new UnsupportedError(
          `${site.label}: its ${role} "${value.name}" is input ${stranger.index} of ${stranger.node.label} too`,
          { cure: CURE },
        )
      }
    }
    groups.set(mean, [...(groups.get(mean) ?? []), site])
  }
  return [...groups].map(([mean, members]) => ({
    mean,
    variance: tensorOf(members[0]!.variance)!,
    meanName: members[0]!.mean.name,
    varianceName: members[0]!.variance.name,
    sites: members,
  }))
}

const CURE = 'give each its own tensor: some exporters merge equal tensors of an untrained model'

const STATISTICS = [3, 4]

/** A use of a statistic, behind Identity, Cast and Reshape too, that is not the statistics input of a normalization. */
function otherReader(value: Value, uses: ReadonlyMap<Value, readonly Use[]>): Use | undefined {
  for (const use of uses.get(value) ?? []) {
    if (isBatchNorm(use.node) && STATISTICS.includes(use.index)) continue
    const output = use.index === 0 ? use.node.outputs[0] : null
    if (!output || !keepsElements(output)) return use
    const further = otherReader(output, uses)
    if (further) return further
  }
  return undefined
}
