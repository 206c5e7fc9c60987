/** From a model's files to a version that takes requests: open, look at, try, measure, open the other sessions. */

import { stat } from 'node:fs/promises'
import { availableParallelism } from 'node:os'
import type { Engine } from '../../runtime/engine.ts'
import { CPU } from '../../runtime/engines.ts'
import { InputError } from '../../util/errors.ts'
import { Instance } from '../execution/instance.ts'
import { Scheduler } from '../execution/scheduler.ts'
import { Statistics, type StatisticsEvents } from '../execution/statistics.ts'
import type { Signature } from '../protocol/signature.ts'
import { dataFileName, describeModel, readLabels, signatureOf, type Description } from './describe.ts'
import { manifestMismatch } from './manifest.ts'
import { probeModel, type ProbeResult } from './probe.ts'
import { ServedVersion, type VersionFacts } from './served-version.ts'
import { bytesOf, Sessions } from './sessions.ts'
import type { ModelSettings } from './settings.ts'
import { withDataFiles, type VersionSource } from './sources.ts'
import { tune, type Tuning } from './tune.ts'

export interface LoadContext {
  readonly engine: Engine
  readonly settings: ModelSettings
  /** The same model in service, whose ways are taken over. */
  readonly previous: ServedVersion | null
  /** Throws where the model is not what it is configured to be. */
  readonly check: (signature: Signature) => void
  readonly events: (version: string) => LoadEvents
}

export interface LoadEvents extends StatisticsEvents {
  readonly crashed: (error: Error) => void
  readonly restarted: () => void
  readonly restartFailed: (error: Error) => void
}

/** Loads, tries and measures a version; nothing of it is left when that fails. */
export async function loadVersion(
  name: string,
  source: VersionSource,
  context: LoadContext,
): Promise<ServedVersion> {
  const mismatch = await manifestMismatch(source.path)
  if (mismatch !== null) throw new InputError(mismatch)
  const description = await describeModel(source.path)
  const stamp = await withDataFiles(source.stamp, description.dataFiles)
  const before = process.memoryUsage.rss()
  const sessions = new Sessions(context.engine, {
    path: source.path,
    bfloat16: description.bfloat16,
    dataFiles: description.dataFiles.map(path => ({ name: dataFileName(source.path, path), path })),
  })
  try {
    const loaded = await prepare(name, { ...source, stamp }, description, context, sessions)
    const memory = {
      file: (await stat(source.path)).size,
      process: Math.max(0, process.memoryUsage.rss() - before),
    }
    return makeVersion({ ...loaded, memory }, sessions, context)
  } catch (error) {
    await sessions.closeAll()
    throw error
  }
}

async function prepare(
  name: string,
  source: VersionSource,
  description: Description,
  { engine, settings, previous, check }: LoadContext,
  sessions: Sessions,
): Promise<Omit<VersionFacts, 'memory'>> {
  const first = await sessions.open(settings.threads)
  const signature = signatureOf(first, description)
  check(signature)
  // A model of another form is another model, whatever its name.
  const same = JSON.stringify(previous?.signature) === JSON.stringify(signature)
  const known = same ? previous?.facts : undefined
  const probe = await probeModel(first, signature, known?.probe.feeds ?? null)
  if (known) refuseWorse(known, probe)
  const batched = probe.batched && settings.maxBatch !== 1
  const outputs = signature.outputs.map(({ name }) => name)
  const tuning =
    known?.batched === batched
      ? pick(known.settings, settings)
      : await tune(sessions, first, {
          ...{ settings, batched, outputs, sample: probe.feeds },
          onCpu: engine.name === CPU,
          weights: await bytesOf([source.path, ...description.dataFiles]),
        })
  const { lone, threads } = tuning
  // It has been opened with as many threads as it may have, before it was known how many it should.
  const fits = lone || threads === (settings.threads ?? availableParallelism())
  if (!fits && sessions.opened.includes(first)) await sessions.close(first)
  while (sessions.opened.length < tuning.instances + Number(lone)) await sessions.open(threads)
  const labels = source.labels === null ? description.labels : await readLabels(source.labels)
  const { dataFiles } = description
  return { name, source, signature, labels, dataFiles, batched, probe, settings: { ...settings, ...tuning } }
}

/** What was measured for the version before, and is not set otherwise. */
function pick(known: VersionFacts['settings'], settings: ModelSettings): Tuning {
  return {
    maxBatch: settings.maxBatch ?? known.maxBatch,
    goodBatch: settings.maxBatch ?? known.goodBatch,
    instances: settings.instances ?? known.instances,
    threads: settings.threads ?? known.threads,
    lone: known.lone && settings.instances === null && settings.threads === null,
  }
}

function refuseWorse({ source, probe }: VersionFacts, found: ProbeResult): void {
  if (probe.feeds && !found.feeds) {
    throw new InputError(`it does not run on what version ${source.version} runs on: ${found.note ?? ''}`)
  }
  if (probe.finite && !found.finite) {
    throw new InputError(`its outputs are not finite numbers; those of version ${source.version} are`)
  }
}

function makeVersion(
  facts: VersionFacts,
  sessions: Sessions,
  { events, previous }: LoadContext,
): ServedVersion {
  const listeners = events(facts.source.version)
  // Counters go on where a file is replaced under its version.
  const same = previous?.version === facts.source.version
  const statistics = same ? previous.statistics : new Statistics(listeners)
  const { lone, threads } = facts.settings
  const instances = sessions.opened.map(
    (runner, i) =>
      new Instance(runner, () => sessions.replace(lone && i === 0 ? null : threads), {
        crashed: listeners.crashed,
        failed: listeners.restartFailed,
        opened: () => {
          listeners.restarted()
          scheduler.pump()
        },
      }),
  )
  const outputs = facts.signature.outputs.map(({ name }) => name)
  const [first, others] = lone ? [instances[0]!, instances.slice(1)] : [null, instances]
  const scheduler: Scheduler = new Scheduler(others, first, outputs, facts.settings, statistics)
  return new ServedVersion(facts, instances, scheduler, statistics)
}
