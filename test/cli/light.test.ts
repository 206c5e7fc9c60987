/** `--help` is quick because the command line loads next to nothing until a command runs. */

import { readFileSync } from 'node:fs'
import { dirname, join, relative } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { ROOT } from './support/cli.ts'

/** What a file loads at once: not types, not `import()`. */
function staticImports(file: string): string[] {
  const text = readFileSync(file, 'utf8')
  const names = String.raw`[\w*{},\s]+?\sfrom\s+`
  const loads = new RegExp(
    `^(?:import\\s+(?!type\\s)(?:${names})?|export\\s+(?=[*{])${names})'([^']+)'`,
    'gm',
  )
  const imports = text.matchAll(loads)
  return [...imports].map(match => match[1]!)
}

test('before a command runs, only cli, util and the names of engines are loaded, with yargs and picocolors', () => {
  const queue = [join(ROOT, 'src/cli/main.ts')]
  const files = new Set<string>(queue)
  const libraries = new Set<string>()
  for (let file = queue.pop(); file !== undefined; file = queue.pop()) {
    for (const specifier of staticImports(file)) {
      if (!specifier.startsWith('.')) libraries.add(specifier)
      else {
        const target = join(dirname(file), specifier)
        if (!files.has(target)) queue.push(target)
        files.add(target)
      }
    }
  }
  const loaded = [...files].map(file => relative(join(ROOT, 'src'), file))
  const others = loaded.filter(file => !/^(cli|util)\//.test(file))
  assert.equal(others, ['runtime/engines.ts'])
  const outside = [...libraries].filter(name => !name.startsWith('node:')).sort()
  assert.equal(outside, ['picocolors', 'yargs', 'yargs/helpers'])
})

test.run()
