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

function describeMachine(report: MachineReport): string {
  const memory = `${formatBytes(report.memoryBytes)} memory, ${formatBytes(report.freeMemoryBytes)} free`
  const lines = [
    `node ${report.node} on ${report.platform}, onnxruntime-node ${report.onnxruntime}`,
    `${report.processor}, ${report.cores} cores, ${memory}`,
    '',
  ]
  for (const { name, works, found, cure } of report.engines) {
    lines.push(`${works ? 'works  ' : 'missing'}  ${name}: ${found}`)
    if (cure) lines.push(`         to get it: ${cure}`)
  }
  return lines.join('\n')
}
