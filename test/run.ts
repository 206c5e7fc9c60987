/**
 * The test command: runs each `*.test.ts` in its own process (a crash of native code fails one file) and cannot pass
 * when suites are swallowed: every file must end with a summary in which all tests passed, none was skipped and at least
 * as many ran as the file declares. What a file did not try on this machine (test/support/not-tried.ts) is listed.
 *
 * Usage: npm test [-- pattern [folder]]   e.g. `npm test -- serde`; the folder is this one unless another is named.
 */

import { spawn } from 'node:child_process'
import { readFileSync, readdirSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { join, relative, resolve } from 'node:path'

const root = resolve(process.argv[3] ?? import.meta.dirname)
const pattern = new RegExp(process.argv[2] ?? '.')
const files = readdirSync(root, { recursive: true, encoding: 'utf8' })
  .filter(name => name.endsWith('.test.ts') && pattern.test(name))
  .sort()
/** The longest begin first, so that no processor waits for one at the end. */
const LONGEST = /^(parity|browser|train.kill|train.finetune|runtime.webgpu\.test|runtime.tfjs)/
const queue = [...files.filter(file => LONGEST.test(file)), ...files.filter(file => !LONGEST.test(file))]
const LIMIT_MS = 20 * 60_000

interface Outcome {
  file: string
  passed: number
  total: number
  seconds: number
  problem: string | null
  output: string
}

/** Tests written at the start of a line; loops and tables run more, never fewer. */
function declaredTests(file: string): number {
  const source = readFileSync(join(root, file), 'utf8')
  return source.match(/^test\(/gm)?.length ?? 0
}

function runFile(file: string): Promise<Outcome> {
  const started = performance.now()
  return new Promise(resolve => {
    const child = spawn(process.execPath, ['--import', 'tsx', join(root, file)], {
      stdio: ['ignore', 'pipe', 'pipe'],
      timeout: LIMIT_MS,
      env: { ...process.env, ORT_DISABLE_TELEMETRY: '1', NO_COLOR: '1', FORCE_COLOR: '0' },
    })
    let output = ''
    child.stdout.on('data', (chunk: Buffer) => (output += chunk.toString()))
    child.stderr.on('data', (chunk: Buffer) => (output += chunk.toString()))
    child.on('close', (code, signal) => {
      const summaries = [...output.matchAll(/Total:\s+(\d+)\s+Passed:\s+(\d+)\s+Skipped:\s+(\d+)/g)]
      const sum = (group: number) => summaries.reduce((n, match) => n + Number(match[group]), 0)
      const [total, passed, skipped] = [sum(1), sum(2), sum(3)]
      const declared = declaredTests(file)
      const problem =
        signal !== null
          ? `ended by ${signal}`
          : code !== 0
            ? `exit code ${code ?? '?'}`
            : summaries.length === 0
              ? 'no summary: is `.run()` missing?'
              : passed !== total
                ? `${total - passed} tests did not run to the end (a throwing hook?)`
                : skipped > 0
                  ? `${skipped} skipped (a leftover .only or .skip?)`
                  : total < Math.max(declared, 1)
                    ? `ran ${total} of ${declared} declared tests`
                    : null
      resolve({ file, passed, total, seconds: (performance.now() - started) / 1000, problem, output })
    })
  })
}

async function main(): Promise<void> {
  const outcomes: Outcome[] = []
  const worker = async () => {
    for (let file = queue.shift(); file !== undefined; file = queue.shift()) {
      const outcome = await runFile(file)
      outcomes.push(outcome)
      const mark = outcome.problem === null ? 'ok  ' : 'FAIL'
      console.log(
        `${mark} ${relative('.', file)} ${outcome.passed}/${outcome.total} (${outcome.seconds.toFixed(1)} s)`,
      )
      if (outcome.problem !== null) console.log(`${outcome.output}\n${file}: ${outcome.problem}\n`)
    }
  }
  await Promise.all(Array.from({ length: Math.min(2, availableParallelism()) }, worker))
  const failed = outcomes.filter(outcome => outcome.problem !== null)
  const passed = outcomes.reduce((n, outcome) => n + outcome.passed, 0)
  const missing = outcomes.reduce((n, outcome) => n + outcome.total - outcome.passed, 0)
  console.log(
    `\n${outcomes.length} files, failed: ${failed.map(outcome => outcome.file).join(', ') || 'none'}`,
  )
  const left = outcomes.flatMap(({ output }) => output.match(/^NOT TRIED: .*$/gm) ?? [])
  for (const line of new Set(left)) console.log(line)
  console.log(`${passed} passed, ${Math.max(missing, failed.length)} failed`)
  if (failed.length > 0 || passed === 0) process.exitCode = 1
}

await main()
