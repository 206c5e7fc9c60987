/** Name patterns as the command line takes them: `*` is any text, `?` one character, `{a,b}` a choice. */

import { UsageError } from '../util/errors.ts'

/** Whether a name matches a pattern as a whole. */
export function matchesPattern(pattern: string, name: string): boolean {
  return compilePattern(pattern).test(name)
}

/** A pattern that matches none of `names` is a mistake of the person who wrote it. */
export function checkPatterns(option: string, patterns: readonly string[], names: readonly string[]): void {
  for (const pattern of patterns) {
    const matcher = compilePattern(pattern)
    if (names.some(name => matcher.test(name))) continue
    throw new UsageError(`weights: ${option} "${pattern}" matches none of ${names.length} weights`, {
      cure: 'swa-onnx inspect lists the names; * stands for any text',
    })
  }
}

function compilePattern(pattern: string): RegExp {
  const parts = pattern.split(/(\{[^{}]*\})/).map(part => {
    const choices = /^\{(.*)\}$/.exec(part)?.[1]
    return choices === undefined ? wildcards(part) : `(?:${choices.split(',').map(wildcards).join('|')})`
  })
  return new RegExp(`^${parts.join('')}$`, 's')
}

const WILDCARDS: Readonly<Record<string, string>> = { '*': '.*', '?': '.' }

function wildcards(text: string): string {
  return text.replace(/[\\^$.|+()[\]{}*?]/g, character => WILDCARDS[character] ?? `\\${character}`)
}
