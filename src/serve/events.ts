/** What becomes of models and their sessions, in the log and in the metrics. */

import type { FastifyBaseLogger } from 'fastify'
import type { DeviceHealthOptions } from './device-health.ts'
import type { Metrics } from './metrics.ts'
import type { RepositoryEvents } from './repository/repository.ts'

/** Events of the repository, logged and counted. A load that `stop` ended is no failure. */
export function repositoryEvents(
  logger: FastifyBaseLogger,
  metrics: Metrics,
  stop: AbortSignal,
): RepositoryEvents {
  return {
    loading: (model, version) => logger.info({ model, version }, 'loading'),
    loaded: ({ name: model, version, facts }, ms) => {
      metrics.loads.inc({ model, result: 'success' })
      const { maxBatch, goodBatch, instances, threads, lone } = facts.settings
      logger.info(
        {
          model,
          version,
          ms: Math.round(ms),
          ...{ maxBatch, goodBatch, instances, threads, lone },
          note: facts.probe.note ?? undefined,
        },
        'in service',
      )
    },
    failed: (model, version, error) => {
      if (stop.aborted && error === stop.reason) return
      metrics.loads.inc({ model, result: 'failure' })
      logger.error({ model, version, err: error }, 'could not be loaded')
    },
    problems: errors => {
      for (const error of errors) logger.warn(`not all models could be looked for: ${error.message}`)
    },
    unloaded: (model, version) => {
      metrics.forget(model, version)
      logger.info({ model, version }, 'out of service')
    },
    ofVersion: model => version => ({
      ...metrics.of(model, version),
      crashed: error => {
        metrics.restarts.inc({ model, version })
        logger.error({ model, version, err: error }, 'a session ended and is opened again')
      },
      restarted: () => logger.info({ model, version }, 'a session was opened again'),
      restartFailed: error =>
        logger.error({ model, version, err: error }, 'a session could not be opened again'),
    }),
  }
}

export function healthEvents(logger: FastifyBaseLogger): Pick<DeviceHealthOptions, 'changed'> {
  return {
    changed: ({ name: model, version }, error) => {
      if (error === null) logger.info({ model, version }, 'the device computes again')
      else logger.error({ model, version, err: error }, 'the device does not compute')
    },
  }
}
