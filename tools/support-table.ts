/**
 * The table of operators in the README, made from the tables of the code.
 *
 *     npm run support-table          writes it
 *
 * test/autodiff/support-table.test.ts fails where README and code differ.
 */

import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { NON_DIFFERENTIABLE, REFUSED, RULES } from '../src/autodiff/index.ts'
import { COMPOSITE_DOMAIN } from '../src/autodiff/rule.ts'
import { FUSIONS, RAISES } from '../src/passes/index.ts'
import { CPU_CAPABILITIES } from '../src/runtime/ort-cpu/capabilities.ts'

const README = join(import.meta.dirname, '../README.md')
const BEGIN = '<!-- operators: made by `npm run support-table` -->'
const END = '<!-- end of operators -->'

/** The oldest opset that models are imported in. */
const OLDEST = 9

/** Operators that the standard has given up, and that import writes as what came after them. */
const RENAMED: ReadonlySet<string> = new Set(['Scatter', 'Upsample'])

interface State {
  readonly title: string
  readonly holds: (key: string) => boolean
}

/** States in the order in which they are looked for. */
const STATES: readonly State[] = [
  { title: 'gradient of its own', holds: key => key in RULES && !(key in FUSIONS) },
  { title: 'gradient through its definition in other operators', holds: key => key in FUSIONS },
  { title: 'gradients stop, as they should', holds: key => NON_DIFFERENTIABLE.has(key) },
  { title: 'written in newer operators at import', holds: key => RENAMED.has(key) },
]

const MISSING = 'no gradient: an error that names the node, where one would have to pass'

function operators(): string[] {
  const keys = [
    ...CPU_CAPABILITIES.operators,
    ...Object.keys(RULES),
    ...Object.keys(FUSIONS),
    ...Object.keys(REFUSED),
  ]
  const known = new Set(keys.filter(key => !key.startsWith(COMPOSITE_DOMAIN)))
  return [...known].sort((a, b) => (a.toLowerCase() < b.toLowerCase() ? -1 : 1))
}

/** `Conv`, or `Softmax (13)` where an opset after the oldest changed it and older ones are raised to that. */
function nameOf(key: string): string {
  const changes = Object.keys(RAISES[key] ?? {})
    .map(Number)
    .filter(since => since > OLDEST)
  const first = Math.min(...Object.keys(RULES[key]?.versions ?? { 1: null }).map(Number))
  const notes = [
    ...(changes.length > 0 ? [`raised to ${changes.join(', ')}`] : []),
    ...(first > OLDEST ? [`from opset ${first}`] : []),
  ]
  return `\`${key}\`${notes.length > 0 ? ` (${notes.join('; ')})` : ''}`
}

/** The text between the marks. */
export function supportTable(): string {
  const rows = new Map<string, string[]>(STATES.map(({ title }) => [title, []]))
  for (const key of operators()) {
    const reason = REFUSED[key]
    const state = STATES.find(({ holds }) => holds(key))?.title ?? (reason ? `refused: ${reason}` : MISSING)
    rows.set(state, [...(rows.get(state) ?? []), nameOf(key)])
  }
  const found = [...rows].filter(([, names]) => names.length > 0)
  const lines = found.map(([state, names]) => `| ${state} (${names.length}) | ${names.join(', ')} |`)
  return ['| state | operators |', '| --- | --- |', ...lines].join('\n')
}

function split(text: string): [before: string, table: string, after: string] {
  const [begin, end] = [text.indexOf(BEGIN), text.indexOf(END)]
  if (begin < 0 || end < begin) throw new Error(`README.md lacks ${BEGIN} or ${END}`)
  const start = begin + BEGIN.length
  return [text.slice(0, start), text.slice(start, end), text.slice(end)]
}

/** The table that the README has. */
export function writtenTable(): string {
  return split(readFileSync(README, 'utf8'))[1].trim()
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [before, , after] = split(readFileSync(README, 'utf8'))
  writeFileSync(README, `${before}\n\n${supportTable()}\n\n${after}`)
}
