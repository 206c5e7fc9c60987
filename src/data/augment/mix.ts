/**
 * MixUp (Zhang et al. 2017) and CutMix (Yun et al. 2019) of whole batches, as timm's Mixup does it in batch mode: each
 * sample is mixed with the one at the mirrored place of the batch, and so are their classes.
 */

import { sizeOf, type Shape } from '../../tensor/shape.ts'
import { Tensor } from '../../tensor/tensor.ts'
import { UsageError } from '../../util/errors.ts'
import { Random } from '../../util/random.ts'
import { imageDims, type ImageSize } from '../dataset.ts'
import type { Region } from '../geometry.ts'
import type { Batch } from '../loader.ts'
import type { Transforms } from '../transforms.ts'

export interface Mix {
  /** Beta(alpha, alpha) gives the share of MixUp; 0 turns it off. */
  readonly mixup: number
  readonly cutmix: number
  /** Of mixing a batch at all. */
  readonly probability: number
  /** Of CutMix, where both are on. */
  readonly switchProbability: number
}

/** What chance decided for a batch: `share` is what stays of each sample; all of it where nothing is mixed. */
export interface MixDraw {
  readonly kind: 'mixup' | 'cutmix'
  readonly share: number
}

/** Mixup._params_per_batch. */
export function drawMix({ mixup, cutmix, probability, switchProbability }: Mix, random: Random): MixDraw {
  if (random.float() >= probability) return { kind: 'mixup', share: 1 }
  const both = mixup > 0 && cutmix > 0
  const kind = both
    ? random.float() < switchProbability
      ? 'cutmix'
      : 'mixup'
    : mixup > 0
      ? 'mixup'
      : 'cutmix'
  const alpha = kind === 'mixup' ? mixup : cutmix
  return { kind, share: random.beta(alpha, alpha) }
}

/** Mixup.rand_bbox: a box of the area 1 - share around a point by chance, as far as it lies on the image. */
export function cutRegion({ height, width }: ImageSize, share: number, random: Random): Region {
  const ratio = Math.sqrt(1 - share)
  const cut = (length: number) => {
    const half = Math.floor(Math.trunc(length * ratio) / 2)
    const center = random.integer(length)
    const [low, high] = [Math.max(0, center - half), Math.min(length, center + half)]
    return { low, size: high - low }
  }
  const [rows, columns] = [cut(height), cut(width)]
  return { top: rows.low, left: columns.low, height: rows.size, width: columns.size }
}

export interface MixOptions {
  readonly mix: Mix
  readonly seed: number
  /** Outputs of the model. */
  readonly classes: number
  /** Of each field, by name. */
  readonly transforms: Readonly<Record<string, Transforms>>
  /** Targets that are masks, and the field of their image: they stay classes, of which CutMix pastes the same region. */
  readonly masks?: ReadonlyMap<string, string>
}

/** A batch with its samples mixed and its classes as probabilities [N,C], but for masks: by seed, epoch and position alone. */
export function mixBatch(batch: Batch, { mix, seed, classes, transforms, masks }: MixOptions): Batch {
  const random = Random.of(seed, batch.epoch, batch.index, MIX_STREAM)
  const { kind, share } = drawMix(mix, random)
  const inputs = new Map(batch.inputs)
  const regions = new Map<string, Region>()
  let kept = share
  for (const [name, tensor] of batch.inputs) {
    if (tensor.dtype !== 'float32') {
      throw new UsageError(`mixing: input "${name}" is ${tensor.dtype}, only float32 inputs can be mixed`)
    }
    if (share === 1) continue
    if (kind === 'mixup') inputs.set(name, blended(tensor, share))
    else {
      const layout = cutLayout(name, tensor.dims, transforms[name])
      const region = cutRegion(layout, share, random)
      regions.set(name, region)
      inputs.set(name, pasted(tensor, layout, region))
      kept = 1 - (region.height * region.width) / (layout.height * layout.width)
    }
  }
  const targets = new Map(
    [...batch.targets].map(([name, target]) => {
      const field = masks?.get(name)
      if (field === undefined) return [name, mixedClasses(name, target, classes, kept)]
      checkMaskMix(mix)
      const region = regions.get(field)
      return [name, region ? pastedMask(target, region) : target]
    }),
  )
  return { ...batch, inputs, targets }
}

/** Tells the numbers for mixing a batch from those of its samples. */
const MIX_STREAM = 0x6d6978

/** share * x + (1 - share) * x in reversed order. */
export function blended(tensor: Tensor, share: number): Tensor {
  const [rows = 0] = tensor.dims
  const x = tensor.view() as Float32Array
  const size = x.length / rows
  const mixed = new Float32Array(x.length)
  for (let row = 0; row < rows; row++) {
    const [at, other] = [row * size, (rows - 1 - row) * size]
    for (let i = 0; i < size; i++) mixed[at + i] = x[at + i]! * share + x[other + i]! * (1 - share)
  }
  return Tensor.of('float32', tensor.dims, mixed)
}

/** Lines of an image in memory: `planes` times `height` rows of `width` pixels of `inner` numbers. */
interface CutLayout extends ImageSize {
  readonly planes: number
  readonly inner: number
}

export function cutLayout(name: string, dims: Shape, transforms: Transforms | undefined): CutLayout {
  const layout = transforms?.kind === 'image' ? transforms.layout : 'flat'
  if (layout === 'flat')
    throw new UsageError(`mixing: CutMix needs images, input "${name}" takes none`, {
      cure: 'use --mixup instead',
    })
  const image = imageDims(dims.slice(1), ({ NCHW: 'CHW', NHWC: 'HWC', NHW: 'HW' } as const)[layout])!
  const { height, width, channels } = image
  return layout === 'NHWC'
    ? { height, width, planes: 1, inner: channels }
    : { height, width, planes: channels, inner: 1 }
}

/** The region from the sample at the mirrored place. */
export function pasted(tensor: Tensor, { height, width, planes, inner }: CutLayout, region: Region): Tensor {
  const [rows = 0] = tensor.dims
  const x = tensor.view() as Float32Array | Int32Array
  const size = sizeOf(tensor.dims.slice(1))
  const mixed = x.slice()
  const length = region.width * inner
  for (let row = 0; row < rows; row++) {
    for (let plane = 0; plane < planes; plane++) {
      for (let y = region.top; y < region.top + region.height; y++) {
        const at = ((plane * height + y) * width + region.left) * inner
        const from = (rows - 1 - row) * size + at
        mixed.set(x.subarray(from, from + length), row * size + at)
      }
    }
  }
  return Tensor.of(tensor.dtype, tensor.dims, mixed)
}

/** Masks can be pasted, not blended. */
export function checkMaskMix({ mixup }: Mix): void {
  if (mixup === 0) return
  throw new UsageError('--mixup: masks hold one class for each pixel, which cannot be blended', {
    cure: 'use --cutmix, which pastes masks with their images',
  })
}

/** The same region of masks int64 [N,H,W]. */
function pastedMask(masks: Tensor, region: Region): Tensor {
  const [, height, width] = masks.dims as [number, number, number]
  // Labels are moved as pairs of 32-bit words.
  const words = Tensor.of('int32', [...masks.dims, 2], masks.view() as BigInt64Array)
  return new Tensor('int64', masks.dims, pasted(words, { height, width, planes: 1, inner: 2 }, region).data)
}

/** mixup_target without its smoothing, which the loss adds: share for the own class, the rest for the other's. */
export function mixedClasses(name: string, target: Tensor, classes: number, share: number): Tensor {
  if (target.dtype !== 'int64' || target.dims.length !== 1) {
    throw new UsageError(
      `mixing: it needs one class a sample, target "${name}" is ${target.dtype} [${target.dims.join()}] a batch`,
      { cure: 'leave out --mixup and --cutmix' },
    )
  }
  const labels = target.toNumbers()
  const mixed = new Float32Array(labels.length * classes)
  labels.forEach((label, row) => {
    const other = labels[labels.length - 1 - row]!
    mixed[row * classes + label]! += share
    mixed[row * classes + other]! += 1 - share
  })
  return Tensor.of('float32', [labels.length, classes], mixed)
}
