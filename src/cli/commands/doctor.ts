/** `swa-onnx doctor`: which engines work here, and how to get the others. */

import { formatBytes } from '../../util/format.ts'
import { runCommand, type CommonArguments } from '../command.ts'
import type { MachineReport } from '../../runtime/diagnose.ts'

export const command = 'doctor'
export const describe = 'show which engines work on this machine, and how to get the others'
export const builder = {}

export async function handler(args: CommonArguments): Promise<void> {
  await runCommand(args, async ({ terminal }) => {
    const { diagnose } = await import('../../runtime/diagnose.ts')
    const report = await diagnose()
    terminal.result(describeMachine(report), report)
  })
}

export function describeMachine(report: MachineReport): string {
  const memory = `${formatBytes(report.memoryBytes)} memory, ${formatBytes(report.freeMemoryBytes)} free`
  const packages = Object.keys(report.versions)
  const longest = Math.max(...packages.map(name => name.length))
  const lines = [
    `${report.platform}, ${report.processor}, ${report.cores} cores, ${memory}`,
    '',
    'versions',
    ...packages.map(name => `  ${name.padEnd(longest)}  ${report.versions[name] ?? 'not installed'}`),
    '',
    'engines',
  ]
  const width = Math.max(...report.engines.map(({ name }) => name.length))
  for (const { name, works, found, cure } of report.engines) {
    lines.push(`  ${works ? 'works  ' : 'missing'}  ${name.padEnd(width)}  ${found}`)
    if (cure) lines.push(`${' '.repeat(width + 13)}to get it: ${cure}`)
  }
  lines.push('', `--engine auto takes ${report.auto.name} (${report.auto.reason})`)
  return lines.join('\n')
}
