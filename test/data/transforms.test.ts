/** Every transforms/*.json fixture: our batch against what torchvision makes of the same image. */

import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { decodeImage } from '../../src/data/image-decode.ts'
import { decodeNpy } from '../../src/data/npy.ts'
import { createPipeline } from '../../src/data/pipeline.ts'
import { checkTransforms } from '../../src/data/transforms-check.ts'
import type { ImageTransforms } from '../../src/data/transforms.ts'
import { sizeOf } from '../../src/tensor/shape.ts'
import { assertClose } from '../support/close.ts'
import { FIXTURES } from './files.ts'

const FIELD = { name: '0', layout: 'HWC', dims: null, dtype: 'uint8', range: null } as const

async function apply(image: string, transforms: ImageTransforms) {
  const pipeline = createPipeline(transforms, FIELD)
  const draw = pipeline.draw(null)
  const input = await decodeImage(join(FIXTURES, 'images', image), draw.geometry ?? undefined)
  const dims = pipeline.dimsOf(input)
  const out = new Float32Array(sizeOf(dims))
  pipeline.writeInput(input, draw, out, 0)
  return { dims, out }
}

const names = readdirSync(join(FIXTURES, 'transforms'))
  .filter(name => name.endsWith('.json'))
  .map(name => name.slice(0, -5))

for (const name of names) {
  const load = () => {
    const folder = join(FIXTURES, 'transforms')
    const { image, transforms } = JSON.parse(readFileSync(join(folder, `${name}.json`), 'utf8')) as {
      image: string
      transforms: unknown
    }
    const expected = decodeNpy(readFileSync(join(folder, `${name}.npy`)), name)
    const checked = checkTransforms(transforms, name) as ImageTransforms
    return { image, transforms: checked, expected: { ...expected, data: expected.data as Float32Array } }
  }

  test(`${name}: exact resampling gives torchvision's numbers`, async () => {
    const { image, transforms, expected } = load()
    const { dims, out } = await apply(image, transforms)
    assert.equal(dims, expected.dims)
    assertClose(out, expected.data, {}, name)
  })

  test(`${name}: fast resampling is within 3 of 255, 0.3 in the mean`, async () => {
    const { image, transforms, expected } = load()
    const { dims, out } = await apply(image, { ...transforms, resample: 'fast' })
    assert.equal(dims, expected.dims)
    const levels = 255 * Math.min(...transforms.std)
    const errors = out.map((value, i) => Math.abs(value - expected.data[i]!) * levels)
    const mean = errors.reduce((sum, error) => sum + error, 0) / errors.length
    const worst = errors.reduce((a, b) => Math.max(a, b), 0)
    assert.ok(worst < 3 && mean < 0.3, `worst ${worst}, mean ${mean}`)
  })
}

test.run()
