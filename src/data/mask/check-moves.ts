/** Whether all targets can follow when images are moved. */

import { formatShape } from '../../tensor/shape.ts'
import { UsageError } from '../../util/errors.ts'
import { movesPixels } from '../augment/pixel-changer.ts'
import type { Dataset, TargetField } from '../dataset.ts'
import type { Transforms } from '../transforms.ts'

/**
 * Refuses augmentations that move pixels away from targets of theirs: numbers by position, and classes at other positions
 * than those of an image.
 */
export function checkMoves(
  { name, targets }: Pick<Dataset, 'name' | 'targets'>,
  transforms: Transforms | Readonly<Record<string, Transforms>>,
): void {
  const all = isTransforms(transforms) ? [transforms] : Object.values(transforms)
  const moving = all.some(spec => spec.kind === 'image' && spec.augment && movesPixels(spec.augment))
  const still = targets.find(isStill)
  if (!moving || !still) return
  throw new UsageError(
    `augmentation: target "${still.name}" of ${name} has ${still.kind === 'class' ? 'classes' : 'numbers'} at positions ${formatShape(still.dims)}, which cannot follow an image that is moved`,
    {
      cure: 'leave out flips, shifts, crops, rotation and RandAugment; masks follow if they are classes (--target-kind class) of the height and width of the image',
    },
  )
}

/** Whether a target is about positions and cannot go where an image goes. */
function isStill({ dims, mask }: TargetField): boolean {
  return dims.length >= 2 && mask === undefined
}

function isTransforms(
  transforms: Transforms | Readonly<Record<string, Transforms>>,
): transforms is Transforms {
  return typeof transforms['kind'] === 'string'
}
