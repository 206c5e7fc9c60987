/** Every command line of `swa-onnx serve` in tools/deploy, as its words behind `serve`. */

import type { IDeployment } from 'kubernetes-models/apps/v1'
import { execForm, only, stagesOf } from './dockerfile.ts'
import { read, readYaml } from './files.ts'
import type { ServingRuntime } from './types.ts'
import { commandOf, readUnit } from './unit.ts'

export interface Command {
  /** Where it is. */
  readonly place: string
  readonly words: readonly string[]
}

export function serveCommands(): Command[] {
  const [deployment] = readYaml('kubernetes/deployment.yaml') as [IDeployment]
  const [gpu] = readYaml('kubernetes/cuda.yaml') as [IDeployment]
  const [runtime] = readYaml('kserve/serving-runtime.yaml') as [ServingRuntime]
  const argsOf = ({ spec }: IDeployment) => spec!.template.spec!.containers[0]!.args!
  const unit = readUnit('swa-onnx.service')
  const credentials = { CREDENTIALS_DIRECTORY: '/run/credentials/swa-onnx.service' }
  const commands: Command[] = [
    ...['Dockerfile', 'Dockerfile.cuda'].map(place => {
      return { place, words: execForm(only(stagesOf(place).at(-1)!, 'CMD')) }
    }),
    { place: 'swa-onnx.service', words: commandOf(unit, credentials).slice(2) },
    { place: 'kubernetes/deployment.yaml', words: argsOf(deployment) },
    { place: 'kubernetes/cuda.yaml', words: argsOf(gpu) },
    {
      place: 'kserve/serving-runtime.yaml',
      words: runtime.spec.containers[0]!.args!.map(word => word.replace('{{.Name}}', 'digits')),
    },
    ...readmeCommands(commandOf(unit, credentials).slice(2)),
  ]
  for (const { place, words } of commands) {
    if (words[0] !== 'serve') throw new Error(`${place}: expected serve, found ${words.join(' ')}`)
  }
  return commands.map(({ place, words }) => ({ place, words: words.slice(1) }))
}

/** README.md: `... serve ...` of its code blocks, and the options that it gives to the unit. */
function readmeCommands(unit: readonly string[]): Command[] {
  const code = read('README.md').replaceAll(/\\\n\s*/g, '')
  const lines = code.split('\n').filter(line => line.startsWith('    '))
  const whole = lines.flatMap(line => /\bserve .*/.exec(line) ?? []).map(text => text.split(/\s+/))
  const options = lines
    .flatMap(line => /SWA_ONNX_OPTIONS=([^"]*)/.exec(line)?.[1] ?? [])
    .map(text => [...unit, ...text.replaceAll('%d', '/run/credentials/swa-onnx.service').split(/\s+/)])
  return [...whole, ...options].map(words => ({ place: 'README.md', words }))
}
