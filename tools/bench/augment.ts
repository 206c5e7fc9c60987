/**
 * Samples per second of decoding and augmenting photos beside torchvision's transforms (v2, on PIL images): both on one
 * core, in rounds that take turns; medians.
 *
 *     PYTHON=venv/bin/python node --import tsx tools/bench/augment.ts
 *     ... --only ours --stage jitter --rounds 3        for a profile
 *
 * Both sides run on the core that `--core` names, by taskset(1) of Linux.
 */

import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import sharp from 'sharp'
import { BatchLoader, mixBatch, type Augment } from '../../src/data/index.ts'
import { openImageFolder } from '../../src/data/image-folder.ts'
import { defaultTransforms } from '../../src/data/transforms-default.ts'
import { RANDOM_RESIZED_CROP, withAugment } from '../../src/data/transforms.ts'
import { formatTable } from '../../src/util/format.ts'
import { Random } from '../../src/util/random.ts'
import { median, say, Side } from './side.ts'

const HERE = fileURLToPath(import.meta.url)
const PYTHON = process.env['PYTHON'] ?? 'python3'
const BATCH = 32

const { values: options } = parseArgs({
  options: {
    images: { type: 'string', default: '64' },
    photo: { type: 'string', default: '500x375' },
    size: { type: 'string', default: '224' },
    rounds: { type: 'string', default: '7' },
    core: { type: 'string', default: '0' },
    stage: { type: 'string' },
    only: { type: 'string' },
    worker: { type: 'string' },
  },
})
const SIZE = Number(options.size)

interface Round {
  readonly seconds: number
  readonly samples: number
}

const CROP: Partial<Augment> = { flip: 0.5, randomResizedCrop: RANDOM_RESIZED_CROP }
const STAGES: Readonly<Record<string, { readonly says: string; readonly augment?: Partial<Augment> }>> = {
  decode: { says: 'decode only' },
  crop: { says: 'random resized crop, flip, normalise', augment: CROP },
  jitter: {
    says: 'the same and colour jitter 0.4,0.4,0.4,0.1',
    augment: { ...CROP, colorJitter: { brightness: 0.4, contrast: 0.4, saturation: 0.4, hue: 0.1 } },
  },
  'rand-augment': {
    says: 'the same and RandAugment 2,9',
    augment: { ...CROP, randAugment: { ops: 2, magnitude: 9 } },
  },
  mixup: { says: 'the same and MixUp 0.2', augment: CROP },
}

/** Photos of smooth colours, edges and noise. */
async function writePhotos(folder: string): Promise<void> {
  const [width, height] = options.photo.split('x').map(Number) as [number, number]
  const random = Random.of(1)
  for (let n = 0; n < Number(options.images); n++) {
    const [a, b, c] = [random.float(), random.float(), random.float()]
    const pixels = Uint8Array.from({ length: width * height * 3 }, (_, i) => {
      const [x, y] = [Math.floor(i / 3) % width, Math.floor(i / 3 / width)]
      const wave = Math.sin(x * 0.05 * a + (i % 3)) + Math.cos(y * 0.07 * b) + Number((x * c + y) % 97 > 48)
      return Math.min(255, Math.max(0, 90 + 45 * wave + random.integer(24)))
    })
    mkdirSync(join(folder, `class${n % 2}`), { recursive: true })
    await sharp(pixels, { raw: { width, height, channels: 3 } })
      .jpeg({ quality: 90 })
      .toFile(join(folder, `class${n % 2}`, `${n}.jpg`))
  }
}

async function work(folder: string): Promise<void> {
  const dataset = await openImageFolder(folder)
  const plain = defaultTransforms({ channels: 3, height: SIZE, width: SIZE }, dataset.fields[0])
  say({ ready: true })
  let epoch = 0
  for await (const line of createInterface({ input: process.stdin })) {
    const { augment } = STAGES[line]!
    const start = performance.now()
    if (!augment) for (let i = 0; i < dataset.length; i++) await dataset.load(i)
    else {
      const transforms = withAugment(plain, augment)
      const loader = new BatchLoader(dataset, { batchSize: BATCH, seed: 1, mode: 'train', transforms })
      for await (const batch of loader.batches(epoch++)) {
        if (line !== 'mixup') continue
        const mix = { mixup: 0.2, cutmix: 0, probability: 1, switchProbability: 0 }
        mixBatch(batch, { mix, seed: 1, classes: 2, transforms: { '0': transforms } })
      }
    }
    say({ seconds: (performance.now() - start) / 1000, samples: dataset.length })
  }
}

async function main(): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'swa-augment-'))
  await writePhotos(folder)
  const pinned = (...command: string[]) => ['-c', options.core, ...command]
  const shared = ['--size', options.size]
  const ours = ['--import', 'tsx', HERE, '--worker', folder, ...shared]
  const theirs = [join(import.meta.dirname, 'augment_torch.py'), '--folder', folder, ...shared]
  const sides = [
    new Side<object, Round>('ours', 'taskset', pinned(process.execPath, ...ours)),
    ...(options.only === 'ours'
      ? []
      : [
          new Side<object, Round>(
            'torchvision',
            'taskset',
            pinned(PYTHON, ...theirs, '--batch', String(BATCH)),
          ),
        ]),
  ]
  try {
    for (const side of sides) await side.ready()
    const rows: string[][] = []
    for (const [stage, { says }] of Object.entries(STAGES)) {
      if (options.stage !== undefined && options.stage !== stage) continue
      const speeds = sides.map((): number[] => [])
      for (let round = -1; round < Number(options.rounds); round++) {
        for (const [s, side] of sides.entries()) {
          const { samples, seconds } = await side.ask(stage)
          if (round >= 0) speeds[s]!.push(samples / seconds)
        }
      }
      const [own, other] = speeds.map(median)
      const ratio = other === undefined ? [] : [other.toFixed(0), `${(own! / other).toFixed(2)} times`]
      rows.push([says, own!.toFixed(0), ...ratio])
    }
    const header = ['samples per second', ...sides.map(({ name }) => name), ...(sides[1] ? ['ratio'] : [])]
    console.log(formatTable([header, ...rows]))
  } finally {
    for (const side of sides) await side.close()
    rmSync(folder, { recursive: true })
  }
}

await (options.worker === undefined ? main() : work(options.worker))
