/** The record of an average beside it: what it is made of, how, and what became of every tensor. */

import { existsSync } from 'node:fs'
import { stat } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import type { AveragePlan, AverageReport } from '../averaging/index.ts'
import { sha256File, writeFileAtomic, type WrittenFile } from '../util/files.ts'
import { VERSION } from '../util/version.ts'
import type { AverageResult } from './average-model.ts'

/** `averaged.onnx` -> `averaged.manifest.json`. */
export function manifestPath(out: string): string {
  return `${out.replace(/\.(onnx|safetensors)$/, '')}.manifest.json`
}

/** Writes it beside the output. */
export async function writeManifest(
  plan: AveragePlan,
  result: Omit<AverageResult, 'manifest'>,
): Promise<string> {
  const { method, title, recipe, count, nonfinite, template, fingerprint, tensors, files } = plan
  const { path: out, output, records, written, recalibrated, repaired, soup, evaluation } = result
  const origins = files.flatMap(({ path, members }) => members.map(() => path))
  const base = files.find(({ role }) => role === 'base')
  const manifest = {
    version: VERSION,
    output: {
      kind: output,
      files: written.map(({ path, ...file }) => ({ name: basename(path), ...file })),
    },
    method: { title, ...method, ...(recipe.kind === 'sum' ? { divisor: count } : {}) },
    nonfinite,
    into: template?.path ?? null,
    base: base?.path ?? null,
    fingerprint,
    members: records.map((record, i) => ({ ...record, file: origins[i]! })),
    soup,
    tensors,
    batchNorm: recalibrated && { mode: recalibrated.mode, data: recalibrated.data },
    repaired,
    evaluation:
      evaluation && evaluation.models.map(({ model, metrics }) => ({ model: basename(model), metrics })),
  }
  const path = manifestPath(out)
  await writeFileAtomic(path, `${JSON.stringify(manifest, null, 2)}\n`)
  return path
}

/** What lies under the final names; a file that was written again is read for its checksum. */
export async function deliveredFiles(
  { written }: Pick<AverageReport, 'written'>,
  out: string,
  rewritten: boolean,
): Promise<WrittenFile[]> {
  if (!rewritten) {
    return written.map(({ path, ...file }) => ({ path: join(dirname(out), basename(path)), ...file }))
  }
  const paths = [out, `${out}.data`].filter(path => existsSync(path))
  return Promise.all(
    paths.map(async path => ({ path, bytes: (await stat(path)).size, sha256: await sha256File(path) })),
  )
}
