/**
 * Kubernetes' own schemas, asked twice: the validators of npm kubernetes-models know required fields, types and formats,
 * and its TypeScript types know all fields that there are, so that a misspelt one is found.
 */

import { join } from 'node:path'
import * as apps from 'kubernetes-models/apps/v1'
import * as autoscaling from 'kubernetes-models/autoscaling/v2'
import * as policy from 'kubernetes-models/policy/v1'
import * as core from 'kubernetes-models/v1'
import ts from 'typescript'
import { root } from './files.ts'
import type { Documents } from './types.ts'

type Validator = new (document: never) => { validate: () => void }

const VALIDATORS: Readonly<Record<string, Validator>> = {
  'apps/v1 Deployment': apps.Deployment,
  'autoscaling/v2 HorizontalPodAutoscaler': autoscaling.HorizontalPodAutoscaler,
  'policy/v1 PodDisruptionBudget': policy.PodDisruptionBudget,
  'v1 Pod': core.Pod,
  'v1 Service': core.Service,
}

/** Throws what Kubernetes would complain of. */
export function checkSchema(document: { readonly apiVersion: string; readonly kind: string }): void {
  const name = `${document.apiVersion} ${document.kind}`
  const Model = VALIDATORS[name]
  if (!Model) throw new Error(`no schema for ${name}`)
  new Model(document as never).validate()
}

/**
 * What the compiler says of the documents, written as literals of their types: a module that is only in memory declares a
 * constant for each of them.
 */
export function misfits(
  documents: readonly (readonly [type: keyof Documents, document: unknown])[],
): string[] {
  const path = join(root, 'test/deploy/documents.ts')
  const declarations = documents.map(
    ([type, document], i) => `export const _${i}: Documents['${type}'] = ${JSON.stringify(document)}`,
  )
  const source = ["import type { Documents } from './support/types.ts'", ...declarations].join('\n')

  const config = ts.readConfigFile(join(root, 'tsconfig.json'), file => ts.sys.readFile(file))
  const { options } = ts.parseJsonConfigFileContent(config.config, ts.sys, root)
  const host = ts.createCompilerHost(options)
  const disk = { ...host }
  host.fileExists = file => file === path || disk.fileExists(file)
  host.getSourceFile = (file, version) =>
    file === path ? ts.createSourceFile(file, source, version) : disk.getSourceFile(file, version)
  const program = ts.createProgram([path], options, host)
  return ts
    .getPreEmitDiagnostics(program)
    .map(({ messageText }) => ts.flattenDiagnosticMessageText(messageText, ' '))
}
