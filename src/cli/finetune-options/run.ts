/** The run folder, and how often a run looks up. */

import type { Options } from 'yargs'

export const RUN_OPTIONS = {
  run: {
    type: 'string',
    group: 'Run:',
    describe: 'run folder (default: runs/<model>); an existing run is resumed',
  },
  'eval-every': { type: 'string', default: '1ep', group: 'Run:', describe: 'time between validations' },
  resume: {
    type: 'boolean',
    default: false,
    group: 'Run:',
    describe: 'insist on resuming: fail where there is no run',
  },
  'dry-run': { type: 'boolean', default: false, group: 'Run:', describe: 'print the resolved plan and stop' },
} as const satisfies Record<string, Options>

export interface RunArguments {
  readonly run?: string
  readonly evalEvery: string
  readonly resume: boolean
  readonly dryRun: boolean
}
