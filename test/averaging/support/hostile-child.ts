/**
 * Averages damaged files, one after the other: `hostile-child.ts <folder> <first> <end>`. Each line on stdout is a case: its
 * number, the milliseconds, and what became of it. Errors that are not those of the toolkit are crashes.
 */

import { mkdir, readFile, rm, writeFile } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { openCheckpoint, planAverage, runAverage } from '../../../src/averaging/index.ts'
import { SwaError } from '../../../src/util/errors.ts'
import { mutate } from './mutations.ts'

/** A checkpoint that is averaged with an intact one after a file of it was damaged. */
export interface Victim {
  readonly name: string
  /** The file that is damaged, and the one that is opened. */
  readonly damaged: string
  readonly opened: string
  /** Others beside it that must be there. */
  readonly beside: readonly string[]
  readonly intact: string
  readonly into?: string
}

const [folder, first, end] = process.argv.slice(2)
const victims = JSON.parse(await readFile(join(folder!, 'victims.json'), 'utf8')) as Victim[]
/** Memory that no small file may take. */
const MOST_BYTES = 900e6

for (let number = Number(first); number < Number(end); number++) {
  const victim = victims[number % victims.length]!
  const other = victims[(number + 1 + (number % 7)) % victims.length]!
  const place = join(folder!, `case-${first!}`)
  await rm(place, { recursive: true, force: true })
  await mkdir(place)
  for (const path of victim.beside) await writeFile(join(place, basename(path)), await readFile(path))
  const bytes = mutate(await readFile(victim.damaged), number, await readFile(other.damaged))
  await writeFile(join(place, basename(victim.damaged)), bytes)
  process.stdout.write(`${number} `)
  const start = performance.now()
  const outcome = await average(victim, join(place, basename(victim.opened)), dirname(place))
  const { rss } = process.memoryUsage()
  const memory = rss > MOST_BYTES ? `memory ${rss}` : ''
  console.log(`${Math.round(performance.now() - start)} ${memory || outcome} (${victim.name})`)
}

async function average({ intact, into }: Victim, damaged: string, folder: string): Promise<string> {
  const out = join(folder, `out-${first!}${(into ?? intact).endsWith('.onnx') ? '.onnx' : '.safetensors'}`)
  try {
    const plan = await planAverage([intact, damaged], into === undefined ? {} : { into })
    await runAverage(plan, out)
    return await checkMean(intact, damaged, out, into !== undefined)
  } catch (error) {
    if (error instanceof SwaError && error.exitCode > 1) return 'refused'
    return `crash: ${error instanceof Error ? (error.stack ?? error.message).split('\n').slice(0, 4).join(' | ') : String(error)}`
  } finally {
    await rm(out, { force: true })
    await rm(`${out}.data`, { force: true })
  }
}

/** Every element of the result must be the mean of what the damaged file holds and of the intact one. */
async function checkMean(intact: string, damaged: string, out: string, into: boolean): Promise<string> {
  const files = [
    await openCheckpoint(intact),
    await openCheckpoint(damaged),
    await openCheckpoint(out),
  ] as const
  try {
    const [a, b, mean] = files
    for (const [name, { tensor, dtype }] of mean.tensors) {
      if (dtype !== 'float32' || !tensor) continue
      const [x, y] = [a.tensors.get(name)?.tensor, b.tensors.get(name)?.tensor]
      // Partial averages hold sums, and models that receive weights have other tensors too.
      if (!x || !y) {
        if (into || a.format === 'partial' || b.format === 'partial') continue
        return `wrong: ${name} is not in both`
      }
      const [p, q, m] = [await x.load(), await y.load(), await tensor.load()].map(
        one => one.view() as Float32Array,
      )
      for (let i = 0; i < m!.length; i++) {
        const expected = Math.fround((p![i]! + q![i]!) / 2)
        if (m![i] !== expected && !Object.is(m![i], expected))
          return `wrong: ${name}[${i}] ${m![i]!} for ${expected}`
      }
    }
    return 'averaged'
  } finally {
    for (const file of files) await file.close()
  }
}
