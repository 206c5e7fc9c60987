/** A systemd unit as its file says it. */

import { read } from './files.ts'

export interface Unit {
  /** The values of a key in their order; a key that is not there has none. */
  readonly all: (section: string, key: string) => readonly string[]
  /** The only value of a key; null where it is not there. */
  readonly one: (section: string, key: string) => string | null
}

export function readUnit(name: string): Unit {
  const values = new Map<string, string[]>()
  let section = ''
  for (const line of read(name)
    .replaceAll(/\\\n\s*/g, '')
    .split('\n')) {
    if (line === '' || line.startsWith('#')) continue
    if (line.startsWith('[')) {
      section = line.slice(1, -1)
      continue
    }
    const [, key, value] = /^(\w+)=(.*)$/.exec(line) ?? []
    if (key === undefined) throw new Error(`${name}: expected key=value, found ${line}`)
    values.set(`${section}.${key}`, [...(values.get(`${section}.${key}`) ?? []), value!])
  }
  const all = (section: string, key: string) => values.get(`${section}.${key}`) ?? []
  const one = (section: string, key: string) => {
    const [value, ...more] = all(section, key)
    if (more.length > 0) throw new Error(`${name}: ${key} is there ${more.length + 1} times`)
    return value ?? null
  }
  return { all, one }
}

/** What `Environment=` sets. */
export function environmentOf(unit: Unit): Record<string, string> {
  const words = unit.all('Service', 'Environment').flatMap(value => value.split(' '))
  return Object.fromEntries(words.map(word => [word.split('=')[0]!, word.slice(word.indexOf('=') + 1)]))
}

/** The command that the unit runs, as systemd takes it apart: `${NAME}` is one word, `$NAME` as many as it holds. */
export function commandOf(unit: Unit, extra: Readonly<Record<string, string>>): string[] {
  const environment: Record<string, string | undefined> = { ...environmentOf(unit), ...extra }
  const valueOf = (name: string) => {
    const value = environment[name]
    if (value === undefined) throw new Error(`$${name} has no value`)
    return value
  }
  return unit
    .one('Service', 'ExecStart')!
    .split(' ')
    .flatMap(word => (/^\$\w+$/.test(word) ? valueOf(word.slice(1)).split(' ').filter(Boolean) : [word]))
    .map(word => word.replaceAll(/\$\{(\w+)\}/g, (_, name: string) => valueOf(name)))
}
