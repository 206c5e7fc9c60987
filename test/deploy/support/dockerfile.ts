/** What the tests ask of a Dockerfile. */

import { Copy, DockerfileParser, PropertyInstruction, type Instruction } from 'dockerfile-ast'
import { read } from './files.ts'

export interface Stage {
  /** Null: the last one. */
  readonly name: string | null
  readonly instructions: readonly Instruction[]
}

export interface Copied {
  readonly sources: readonly string[]
  readonly target: string
}

/** The stages in their order. */
export function stagesOf(file: string): Stage[] {
  const dockerfile = DockerfileParser.parse(read(file))
  const instructions = dockerfile.getInstructions()
  const starts = instructions.flatMap((one, i) => (one.getKeyword() === 'FROM' ? [i] : []))
  return dockerfile.getFROMs().map((from, i) => ({
    name: from.getBuildStage(),
    instructions: instructions.slice(starts[i]! + 1, starts[i + 1]),
  }))
}

/** What a stage copies from the repository. */
export function copiedFromContext({ instructions }: Stage): Copied[] {
  return instructions
    .filter(one => one instanceof Copy && one.getFromFlag() === null)
    .map(one => one.getArguments().map(argument => argument.getValue()))
    .map(words => ({ sources: words.slice(0, -1), target: words.at(-1)! }))
}

/** The text of the only instruction of a stage with this keyword, on one line. */
export function only({ instructions }: Stage, keyword: string): string {
  const found = instructions.filter(one => one.getKeyword() === keyword)
  if (found.length !== 1) throw new Error(`${keyword}: expected once, found ${found.length} times`)
  return textOf(found[0]!)
}

/** The text of an instruction behind its keyword and its flags, on one line. */
export function textOf(instruction: Instruction): string {
  return (instruction.getArgumentsContent() ?? '').replaceAll(/[\s\\]*\n\s*/g, ' ').trim()
}

/** The words of a command in exec form; in shell form it is an error, for then a shell gets the signals. */
export function execForm(command: string): string[] {
  const words = JSON.parse(command) as unknown
  if (!Array.isArray(words) || words.some(word => typeof word !== 'string')) {
    throw new Error(`expected a list of words, found ${command}`)
  }
  return words as string[]
}

/** The values that `ENV` or `LABEL` set in a stage. */
export function valuesOf({ instructions }: Stage, keyword: 'ENV' | 'LABEL'): Record<string, string | null> {
  const properties = instructions
    .filter(one => one.getKeyword() === keyword)
    .flatMap(one => (one instanceof PropertyInstruction ? one.getProperties() : []))
  return Object.fromEntries(properties.map(one => [one.getName(), one.getValue()]))
}
