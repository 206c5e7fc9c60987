/** `swa-onnx evaluate model.onnx... --data val`: models side by side on labelled data, or engines side by side on models. */

import type { Argv, Options } from 'yargs'
import type { BayesOptions } from '../../eval/bayes.ts'
import type { EngineComparisonOptions } from '../../eval/compare-engines.ts'
import type { Engine } from '../../runtime/engine.ts'
import { CPU, engineList, parseEngines, type EngineRequest } from '../../runtime/engines.ts'
import { UsageError } from '../../util/errors.ts'
import { runCommand, type CommandContext, type CommonArguments } from '../command.ts'
import { askedEngine, openEngine, openEngines, type AskedEngine } from '../engine.ts'
import {
  DATA_OPTIONS,
  dataOptions,
  ENGINE_OPTIONS,
  engineOptions,
  given,
  whole,
  type DataArguments,
  type EngineArguments,
} from '../options.ts'

interface EvaluateArguments extends CommonArguments, DataArguments, EngineArguments {
  readonly models: readonly string[]
  readonly data: string
  readonly output?: string
  readonly ignoreIndex: number
  readonly swag?: number
  readonly into?: string
  readonly bnData?: string
  readonly scale?: number
  readonly diagonal?: boolean
  readonly engines?: string
  readonly tolerance?: number
}

export const command = 'evaluate <models..>'
export const describe = 'measure models on labelled data, side by side'

const SWAG_OPTIONS = {
  swag: {
    type: 'number',
    group: 'SWAG:',
    describe: 'average the predictions of so many models drawn from a Gaussian (average --method swag)',
  },
  into: { type: 'string', group: 'SWAG:', describe: 'a model of its graph' },
  'bn-data': {
    type: 'string',
    group: 'SWAG:',
    describe: 'training data to recalibrate the batch norms of every drawn model on',
  },
  scale: {
    type: 'number',
    group: 'SWAG:',
    describe: 'factor of the covariance (default: 0.5; with --diagonal 1)',
  },
  diagonal: { type: 'boolean', group: 'SWAG:', describe: 'variances alone' },
} as const satisfies Record<string, Options>

export function builder(yargs: Argv): Argv {
  return yargs
    .positional('models', {
      type: 'string',
      demandOption: true,
      describe: 'ONNX models; with --swag a Gaussian over weights',
    })
    .options({
      data: {
        type: 'string',
        demandOption: true,
        group: 'Data:',
        describe:
          'labelled data: folder of class folders, folders images and masks, IDX, npz, npy, tables, class JSON',
      },
      ...DATA_OPTIONS,
      'ignore-index': {
        type: 'number',
        default: -100,
        group: 'Data:',
        describe: 'class that counts nothing (in mask files 255, unless it is from 0 on)',
      },
      output: {
        type: 'string',
        group: 'Engine:',
        describe: 'model output to measure (default: the only one)',
      },
      ...SWAG_OPTIONS,
      ...ENGINE_OPTIONS,
      engines: {
        type: 'string',
        group: 'Engine:',
        describe: `compare these engines instead, each with the first: ${engineList()}`,
      },
      tolerance: {
        type: 'number',
        group: 'Engine:',
        describe:
          'with --engines: largest difference, relative to the largest magnitude of the output, that is taken for rounding (default: 1e-3; tf32 and half precision 1e-2)',
      },
    })
    .example('$0 evaluate model.onnx averaged.onnx --data val', 'which of two is better')
    .example(`$0 evaluate averaged.onnx --data val --engines ${engineList()}`, 'whether all compute the same')
    .example(
      '$0 evaluate angle.onnx --data lines --size 48x192 --mean 0.5 --std 0.5',
      'images of another size and normalisation',
    )
    .example(
      '$0 evaluate swag.safetensors --swag 30 --into model.onnx --data val --bn-data train',
      'predictions of 30 drawn models, averaged',
    )
    .example('$0 evaluate model.onnx --data mnist.npz --split test --json', 'for a script')
}

export async function handler(args: EvaluateArguments): Promise<void> {
  const { models, data, output } = args
  const asked = askedEngine(args, CPU)
  const requests = args.engines === undefined ? null : parseEngines(args.engines)
  const tolerance = checkTolerance(args)
  if (requests !== null && args.engine !== undefined) {
    throw new UsageError('--engine: expected it or --engines, found both')
  }
  const options = {
    models,
    data,
    dataOptions: dataOptions(args),
    ...engineOptions(args),
    ...given({ output, tolerance }),
  }
  if (args.swag !== undefined) {
    const bayes = swagOptions(args, args.swag)
    await runCommand(args, context => evaluateSwag(asked, { ...options, ...bayes }, context))
    return
  }
  refuseSwagOptions(args)
  await runCommand(args, context =>
    requests === null ? evaluate(asked, options, context) : compare(requests, asked, options, context),
  )
}

async function evaluate(
  asked: AskedEngine,
  options: EngineComparisonOptions,
  { terminal, signal }: CommandContext,
): Promise<void> {
  const { evaluateModels } = await import('../../eval/compare.ts')
  const { describeEvaluation } = await import('../../eval/report.ts')
  const { engine, used } = await openEngine(asked, terminal)
  const report = await evaluateModels(engine, options, {
    signal,
    onProgress: (model, done, total) =>
      terminal.progress({ label: `evaluate ${model}`, done, total, unit: 'samples' }),
  })
  terminal.done()
  for (const note of report.notes) terminal.info(note)
  terminal.result(describeEvaluation(report), { ...report, engine: used })
}

/** What belongs to --swag, checked. */
function swagOptions(
  { models, into, bnData, scale, diagonal, seed, engines }: EvaluateArguments,
  swag: number,
) {
  const [posterior, ...more] = models
  if (into === undefined) {
    throw new UsageError('--swag: there is no model to draw', { cure: 'name one of the graph with --into' })
  }
  if (more.length > 0 || engines !== undefined) {
    throw new UsageError(`--swag: expected one Gaussian and no --engines, found ${models.join(' ')}`)
  }
  const draws = whole('--swag', swag)
  return { posterior: posterior!, into, draws, seed, ...given({ bnData, scale, diagonal }) }
}

function refuseSwagOptions(args: EvaluateArguments): void {
  const found = (['into', 'bnData', 'scale', 'diagonal'] as const).find(key => args[key] !== undefined)
  if (found) throw new UsageError(`--${found === 'bnData' ? 'bn-data' : found}: it goes with --swag`)
}

async function evaluateSwag(
  asked: AskedEngine,
  options: BayesOptions,
  { terminal, signal }: CommandContext,
): Promise<void> {
  const { evaluateBayes } = await import('../../eval/bayes.ts')
  const { describeBayes } = await import('../../eval/report.ts')
  const { engine, used } = await openEngine(asked, terminal)
  const report = await evaluateBayes(engine, options, {
    signal,
    onProgress: (done, total) => terminal.progress({ label: 'evaluate draws', done, total, unit: 'models' }),
  })
  terminal.done()
  for (const warning of report.warnings) terminal.warn(warning)
  terminal.result(describeBayes(report), { ...report, engine: used })
}

/** The result is complete whatever it says; that engines differ is a failed check. */
async function compare(
  requests: readonly EngineRequest[],
  { precision }: AskedEngine,
  options: EngineComparisonOptions,
  { terminal, signal }: CommandContext,
): Promise<void> {
  const { checkAgreement, crossValidateModels } = await import('../../eval/compare-engines.ts')
  const { describeEngineComparison } = await import('../../eval/report-engines.ts')
  const { engines, used } = await openEngines(requests, precision, terminal)
  const report = await crossValidateModels(engines as [Engine, ...Engine[]], options, {
    signal,
    onProgress: (model, done, total) =>
      terminal.progress({ label: `compare ${model}`, done, total, unit: 'samples' }),
    onSearch: (model, done, total) =>
      terminal.progress({ label: `look for the node in ${model}`, done, total, unit: 'values' }),
  })
  terminal.done()
  for (const note of report.notes) terminal.info(note)
  terminal.result(describeEngineComparison(report), { ...report, engines: used })
  checkAgreement(report)
}

function checkTolerance({ tolerance, engines }: EvaluateArguments): number | undefined {
  if (tolerance === undefined) return undefined
  if (engines === undefined) throw new UsageError('--tolerance: it goes with --engines')
  if (tolerance > 0 && Number.isFinite(tolerance)) return tolerance
  throw new UsageError(`--tolerance: expected a positive number such as 1e-3, found ${tolerance}`)
}
