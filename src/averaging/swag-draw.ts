/** Models drawn from a Gaussian over weights. */

import { InputError } from '../util/errors.ts'
import type { WrittenFile } from '../util/files.ts'
import { findBatchNorms, withoutFunctions } from '../passes/index.ts'
import { writePatched } from '../serde/index.ts'
import { formatShape, sameShape } from '../tensor/shape.ts'
import type { ByteSource } from '../tensor/source.ts'
import type { Tensor } from '../tensor/tensor.ts'
import { openCheckpoint } from './checkpoint.ts'
import { graphFingerprint } from './fingerprint.ts'
import { findRenaming, rename } from './renaming.ts'
import { DrawnSource, type DrawOptions, type Swag } from './swag.ts'

/** Writes a model of the graph of `into` with weights drawn from a Gaussian. The same options give the same bytes. */
export async function drawModel(
  swag: Swag,
  into: string,
  out: string,
  options: DrawOptions,
): Promise<WrittenFile[]> {
  const target = await openCheckpoint(into)
  try {
    if (!target.model) throw new InputError(`sample: ${into}: expected an ONNX model, found ${target.format}`)
    const found = await graphFingerprint(target.model.model)
    if (swag.fingerprint !== null && swag.fingerprint !== found) {
      throw new InputError(
        `sample: ${into} is not the graph that ${swag.path} was made of: expected fingerprint ${swag.fingerprint}, found ${found}`,
        { cure: 'name one of the averaged models, or the one that their run started from' },
      )
    }
    const sites = findBatchNorms(withoutFunctions(target.model.model))
    const statistics = new Set(sites.flatMap(({ mean, variance }) => [mean.tensor, variance.tensor]))
    const replacements = new Map<Tensor, ByteSource>()
    const fits = (name: string, place: string) => {
      const [{ dtype, dims }, other] = [swag.gaussians.get(name)!, target.tensors.get(place)!]
      return other.dtype === dtype && sameShape(other.dims, dims)
    }
    const names = [...swag.gaussians.keys()]
    const renaming = findRenaming(names, [...target.tensors.keys()], fits, swag.path, into)
    for (const [number, [name, gaussian]] of [...swag.gaussians].entries()) {
      const place = target.tensors.get(rename(name, renaming))
      const { dtype, dims } = gaussian
      if (place?.tensor && place.dtype === dtype && sameShape(place.dims, dims)) {
        // Statistics are no weights: a drawn variance could be negative. They are the mean until they are computed anew.
        const scale = statistics.has(place.tensor) ? { scale: 0 } : {}
        const drawn = { ...options, ...scale }
        replacements.set(place.tensor, new DrawnSource(name, gaussian, swag.rank, number, drawn))
        continue
      }
      const text = place ? `${place.dtype}${formatShape(place.dims)}` : 'no such tensor'
      throw new InputError(
        `sample: tensor "${name}" of ${swag.path}: expected ${dtype}${formatShape(dims)} in ${into}, found ${text}`,
      )
    }
    const { seed, scale, diagonal } = options
    const metadata = new Map([
      ['swa_onnx.method', 'SWAG sample'],
      ['swa_onnx.parameters', JSON.stringify({ seed, scale, diagonal })],
    ])
    return await writePatched(target.model, out, replacements, metadata, { checksum: true })
  } finally {
    await target.close()
  }
}
