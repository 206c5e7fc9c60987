/** `swa-onnx sample swag.safetensors --into model.onnx -o draw.onnx`: models drawn from a Gaussian over weights. */

import type { Argv } from 'yargs'
import { UsageError } from '../../util/errors.ts'
import { runCommand, type CommonArguments } from '../command.ts'
import { given, inRange, whole } from '../options.ts'
import { checkOutput } from '../output.ts'

interface SampleArguments extends CommonArguments {
  readonly posterior: string
  readonly into: string
  readonly out: string
  readonly count: number
  readonly seed: number
  readonly scale?: number
  readonly diagonal: boolean
  readonly force: boolean
}

export const command = 'sample <posterior>'
export const describe = 'draw models from the Gaussian that `average --method swag` wrote'

export function builder(yargs: Argv): Argv {
  return yargs
    .positional('posterior', { type: 'string', demandOption: true, describe: 'the Gaussian, as safetensors' })
    .options({
      into: {
        type: 'string',
        demandOption: true,
        group: 'Sample:',
        describe: 'a model of the graph: one of those that were averaged',
      },
      count: {
        alias: 'n',
        type: 'number',
        default: 1,
        group: 'Sample:',
        describe: 'models to draw; with more than one --out has a * for their numbers',
      },
      seed: {
        type: 'number',
        default: 0,
        group: 'Sample:',
        describe: 'seed of the first; the others follow',
      },
      scale: {
        type: 'number',
        group: 'Sample:',
        describe:
          'factor of the covariance, 0 for the mean (default: 0.5, as in the paper; with --diagonal 1)',
      },
      diagonal: {
        type: 'boolean',
        default: false,
        group: 'Sample:',
        describe: 'variances alone, without the deviations of members',
      },
      out: {
        alias: 'o',
        type: 'string',
        demandOption: true,
        group: 'Output:',
        describe: 'the model to write: draw.onnx, or draw-*.onnx',
      },
      force: { type: 'boolean', default: false, group: 'Output:', describe: 'overwrite what exists' },
    })
    .example('$0 average epoch-*.onnx --method swag -o swag.safetensors', 'the Gaussian of some checkpoints')
    .example('$0 sample swag.safetensors --into epoch-9.onnx -n 10 -o draw-*.onnx', 'ten models of it')
    .example(
      '$0 recalibrate draw-0.onnx --data train -o model.onnx',
      'before a model with batch norms is used',
    )
}

export async function handler(args: SampleArguments): Promise<void> {
  const { posterior, into, out, seed, scale, diagonal, force } = args
  const count = whole('--count', args.count)
  if (count > 1 !== out.includes('*')) {
    throw new UsageError(
      count > 1
        ? `--out: expected a * for the numbers of ${count} models, found ${out}`
        : `--out: expected a name without *, found ${out}`,
    )
  }
  if (!out.endsWith('.onnx')) throw new UsageError(`--out: expected a name that ends in .onnx, found ${out}`)
  if (scale !== undefined) inRange('--scale', scale, 0, 1e6)
  const paths = Array.from({ length: count }, (_, k) => out.replace('*', String(k)))
  for (const path of paths) checkOutput({ out: path, force }, [posterior, into])
  await runCommand(args, async ({ terminal, signal }) => {
    const { drawModel, openSwag } = await import('../../averaging/index.ts')
    const swag = await openSwag(posterior)
    try {
      for (const [k, path] of paths.entries()) {
        signal.throwIfAborted()
        await drawModel(swag, into, path, { seed: seed + k, diagonal, ...given({ scale }) })
        terminal.progress({ label: 'sample', done: k + 1, total: count, unit: 'models' })
      }
    } finally {
      await swag.close()
    }
    terminal.done()
    terminal.result(`drew ${count === 1 ? paths[0]! : `${count} models: ${paths[0]!} to ${paths.at(-1)!}`}`, {
      models: paths,
      seed,
    })
  })
}
