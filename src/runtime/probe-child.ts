/** The process in which an engine is tried: `probe-child <name> <options as JSON>`, answer by message. */

import { messageOf } from '../util/errors.ts'
import { ENGINES, type EngineOptions, type EngineReport, type EngineTable } from './engines.ts'

const [name = '', options = ''] = process.argv.slice(2)
process.on('disconnect', () => process.exit())
process.send?.(await tryEngine(name, JSON.parse(options) as EngineOptions))

async function tryEngine(name: string, options: EngineOptions): Promise<EngineReport> {
  try {
    const entry = await (ENGINES as EngineTable)[name]!()
    return await entry.probe(options)
  } catch (error) {
    return { name, works: false, found: messageOf(error), cure: null, accelerated: false }
  }
}
