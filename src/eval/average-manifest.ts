/** The record of an average beside it: what it is made of, how, and what became of every tensor. */

import { existsSync } from 'node:fs'
import { stat } from 'node:fs/promises'
import { basename } from 'node:path'
import type { AveragePlan, AverageReport } from '../averaging/index.ts'
import { sha256File, writeFileAtomic, type WrittenFile } from '../util/files.ts'
import { VERSION } from '../util/version.ts'
import type { AverageResult } from './average-model.ts'

/** `averaged.onnx` -> `averaged.manifest.json`. */
export function manifestPath(out: string): string {
  return `${out.replace(/\.(onnx|safetensors)$/, '')}.manifest.json`
}

/** Writes it; `final`: whether the files are those that averaging wrote, else they are hashed again. */
export async function writeManifest(
  plan: AveragePlan,
  report: AverageReport,
  result: Pick<AverageResult, 'path' | 'recalibrated' | 'soup' | 'evaluation'>,
): Promise<string> {
  const { method, title, recipe, count, nonfinite, template, fingerprint, tensors, files } = plan
  const { path: out, recalibrated, soup, evaluation } = result
  const written = recalibrated ? await hashAgain(out) : report.written
  const origins = files.flatMap(({ path, members }) => members.map(() => path))
  const base = files.find(({ role }) => role === 'base')
  const manifest = {
    version: VERSION,
    output: {
      kind: report.output,
      files: written.map(({ path, ...file }) => ({ name: basename(path), ...file })),
    },
    method: { title, ...method, ...(recipe.kind === 'sum' ? { divisor: count } : {}) },
    nonfinite,
    into: template?.path ?? null,
    base: base?.path ?? null,
    fingerprint,
    members: report.records.map((record, i) => ({ ...record, file: origins[i]! })),
    soup,
    tensors,
    batchNorm: recalibrated && { mode: recalibrated.mode, data: recalibrated.data },
    evaluation:
      evaluation && evaluation.models.map(({ model, metrics }) => ({ model: basename(model), metrics })),
  }
  const path = manifestPath(out)
  await writeFileAtomic(path, `${JSON.stringify(manifest, null, 2)}\n`)
  return path
}

async function hashAgain(out: string): Promise<WrittenFile[]> {
  const paths = [out, `${out}.data`].filter(path => existsSync(path))
  return Promise.all(
    paths.map(async path => ({ path, bytes: (await stat(path)).size, sha256: await sha256File(path) })),
  )
}
