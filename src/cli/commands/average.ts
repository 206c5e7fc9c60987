/** `swa-onnx average checkpoints... -o averaged.onnx`: the exact mean of checkpoints. */

import { text } from 'node:stream/consumers'
import type { Argv } from 'yargs'
import type { AverageResult } from '../../eval/average-model.ts'
import { UsageError } from '../../util/errors.ts'
import { CPU } from '../../runtime/engines.ts'
import { runCommand, type CommonArguments } from '../command.ts'
import { askedEngine, openEngine } from '../engine.ts'
import {
  BATCH_NORM_OPTIONS,
  DATA_OPTIONS,
  dataOptions,
  ENGINE_OPTIONS,
  engineOptions,
  given,
  OUTPUT_OPTIONS,
  type DataArguments,
  type EngineArguments,
} from '../options.ts'
import { METHOD_OPTIONS, methodOptions, type MethodArguments } from '../methods.ts'
import { checkOutput, type OutputArguments } from '../output.ts'

interface AverageArguments
  extends CommonArguments, DataArguments, EngineArguments, MethodArguments, OutputArguments {
  readonly checkpoints: readonly string[]
  readonly into?: string
  readonly map?: readonly string[]
  readonly ignore?: readonly string[]
  readonly integers: 'equal' | 'last'
  readonly match: 'names' | 'structure'
  readonly allowNonfinite: boolean
  readonly partial: boolean
  readonly data?: string
  readonly val?: string
  readonly bnMode: 'exact' | 'torch'
  readonly dryRun: boolean
  readonly manifest: boolean
  readonly gate: boolean
  readonly repair: boolean
  readonly resume: boolean
  readonly checksum?: boolean
}

export const command = 'average <checkpoints..>'
export const describe =
  'average checkpoints: ONNX models, safetensors, PyTorch state dicts, npz or partial averages'

/** Recalibration takes the training part, comparison the validation part; neither is chosen by hand. */
const { split: _split, ...PART_OPTIONS } = DATA_OPTIONS

export function builder(yargs: Argv): Argv {
  return yargs
    .positional('checkpoints', {
      type: 'string',
      demandOption: true,
      describe:
        'ONNX models, safetensors, PyTorch state dicts (.pt, .pth), .npz, or partial averages: files, https:// or s3:// addresses, folders, run folders, patterns, @list.txt, @- for a list on standard input',
    })
    .options({
      ...OUTPUT_OPTIONS,
      out: { ...OUTPUT_OPTIONS.out, demandOption: false },
      into: {
        type: 'string',
        group: 'Average:',
        describe: 'the ONNX model that receives the average (default: the first ONNX file)',
      },
      map: {
        type: 'string',
        array: true,
        nargs: 1,
        group: 'Average:',
        describe:
          'the place of a tensor in the model, where its name and its values do not tell: NAME=PLACE, or NAME.T=PLACE for its transpose',
      },
      ignore: {
        type: 'string',
        array: true,
        nargs: 1,
        group: 'Average:',
        describe:
          'leave out tensors of matching names (* and ? stand for text), which the model has no place for',
      },
      match: {
        choices: ['names', 'structure'] as const,
        default: 'names' as const,
        group: 'Average:',
        describe:
          'ONNX weights belong together by their names, or by their places in graphs that are the same',
      },
      integers: {
        choices: ['equal', 'last'] as const,
        default: 'equal' as const,
        group: 'Average:',
        describe: 'integer tensors: must be equal, or those of the last file',
      },
      'allow-nonfinite': {
        type: 'boolean',
        default: false,
        group: 'Average:',
        describe: 'take NaN and infinities of members into the result (default: they are errors)',
      },
      partial: {
        type: 'boolean',
        default: false,
        group: 'Average:',
        describe: 'write the exact sums, which can be averaged with others, as safetensors',
      },
      manifest: {
        type: 'boolean',
        default: true,
        group: 'Output:',
        describe: 'write members, hashes, weights and policies beside the output, as NAME.manifest.json',
      },
      'dry-run': { type: 'boolean', default: false, group: 'Average:', describe: 'print the plan and stop' },
      data: {
        type: 'string',
        group: 'Data:',
        describe: 'training data to recalibrate batch norms on afterwards',
      },
      val: {
        type: 'string',
        group: 'Data:',
        describe: 'labelled data on which members and average are compared afterwards',
      },
      checksum: {
        type: 'boolean',
        group: 'Output:',
        describe: 'SHA-256 of the output in the manifest (default: of up to 256 MiB, as it takes time)',
      },
      resume: {
        type: 'boolean',
        default: false,
        group: 'Output:',
        describe: 'keep what is finished when interrupted, and go on from there when run again',
      },
      repair: {
        type: 'boolean',
        default: false,
        group: 'Batch normalization:',
        describe:
          'for models whose batch norms are folded into weights: give every channel the mean and deviation that the members have on --data',
      },
      gate: {
        type: 'boolean',
        default: false,
        group: 'Average:',
        describe: 'write nothing (exit code 5) if the average is worse on --val than the best member',
      },
      ...METHOD_OPTIONS,
      ...PART_OPTIONS,
      ...BATCH_NORM_OPTIONS,
      ...ENGINE_OPTIONS,
    })
    .check(args => {
      if (args['out'] === undefined && !args['dry-run'])
        throw new UsageError('missing option: --out', { cure: 'name the file to write with -o' })
      return true
    })
    .example('$0 average ckpt-*.onnx -o averaged.onnx --data train', 'ten checkpoints of one run')
    .example(
      '$0 average step-*.safetensors --into model.onnx -o averaged.onnx',
      'snapshots, into the model they came from',
    )
    .example(
      '$0 average epoch-*.pt --into model.onnx --ignore "head.*" --map fc.weight=onnx::MatMul_12 -o averaged.onnx',
      'PyTorch checkpoints, into a model whose exporter renamed their weights',
    )
    .example('$0 average runs/a -o averaged.safetensors', 'the snapshots of a run')
    .example('$0 average epoch-*.onnx --last 5 -o averaged.onnx', 'the five latest checkpoints (LAWA)')
    .example('$0 average epoch-*.onnx --method ema --decay 0.9 -o averaged.onnx', 'a moving average of them')
    .example(
      '$0 average tuned-*.onnx --soup greedy --val val -o soup.onnx',
      'those that together validate best',
    )
    .example(
      '$0 average a.onnx b.onnx --method ties --base base.onnx -o merged.onnx',
      'two fine-tuned models of one base',
    )
    .example(
      '$0 average sums-*.safetensors --into model.onnx -o averaged.onnx',
      'partial averages of several machines',
    )
}

export async function handler(args: AverageArguments): Promise<void> {
  const { into, integers, allowNonfinite, partial, out, data, val, bnMode, soup } = args
  const { listCheckpoints } = await import('../../averaging/index.ts')
  const checkpoints = await listCheckpoints(args.checkpoints, () => text(process.stdin))
  const asked = askedEngine(args, CPU)
  const average = given({
    ...{ into, integers, match: args.match, ignore: args.ignore, map: args.map?.map(parseMapping) },
    ...methodOptions(args, checkpoints.length),
    nonfinite: allowNonfinite ? ('allow' as const) : undefined,
  })
  if (!args.dryRun)
    checkOutput(args, [
      ...checkpoints,
      ...(into === undefined ? [] : [into]),
      ...(args.base === undefined ? [] : [args.base]),
    ])
  const options = {
    ...{
      checkpoints,
      out,
      average,
      partial,
      mode: bnMode,
      manifest: args.manifest,
      gate: args.gate,
      repair: args.repair,
      resume: args.resume,
      dataOptions: dataOptions(args),
    },
    ...engineOptions(args),
    ...given({ data, val, soup, checksum: args.checksum }),
  }
  await runCommand(args, async ({ terminal, signal }) => {
    if (args.dryRun) {
      const { planAverage } = await import('../../averaging/index.ts')
      const { describeAveragePlan } = await import('../../eval/report-average.ts')
      const plan = await planAverage(checkpoints, average)
      for (const warning of plan.warnings) terminal.warn(warning)
      terminal.result(describeAveragePlan(plan), plan)
      return
    }
    const { averageModel } = await import('../../eval/average-model.ts')
    const { describeAverage } = await import('../../eval/report-average.ts')
    // The average itself is plain arithmetic: an engine runs models to recalibrate and to compare.
    const runs = (data ?? val) !== undefined
    const { engine, used } = runs ? await openEngine(asked, terminal) : { engine: null, used: null }
    const result: AverageResult = await averageModel(engine, options, {
      signal,
      onProgress: progress => terminal.progress(progress),
    })
    terminal.done()
    for (const warning of result.warnings) terminal.warn(warning)
    terminal.result(describeAverage(result), { ...result, engine: used })
  })
}

/** `NAME=PLACE`. */
function parseMapping(text: string): [tensor: string, place: string] {
  const at = text.indexOf('=')
  if (at > 0 && at < text.length - 1) return [text.slice(0, at), text.slice(at + 1)]
  throw new UsageError(`--map: expected NAME=PLACE, found "${text}"`, {
    cure: 'give the name of a tensor of the checkpoints and that of its place in the model',
  })
}
