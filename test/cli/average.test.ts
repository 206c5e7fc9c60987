import { createHash } from 'node:crypto'
import { existsSync } from 'node:fs'
import { readdir, readFile, writeFile } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { modelWeights, type AveragePlan } from '../../src/averaging/index.ts'
import type { AverageResult } from '../../src/eval/average-model.ts'
import { loadModel, writeSafetensors } from '../../src/serde/index.ts'
import { Tensor } from '../../src/tensor/tensor.ts'
import { perturb, type Values } from '../averaging/support/checkpoints.ts'
import { CLASSIFIER, inFolder, json, LINES, renderLines, ROOT, swa } from './support/cli.ts'

const MODEL = 'fixtures/models/bn_cnn-ts/model.onnx'
const PLACING = join(ROOT, 'fixtures/averaging/placing')
const COPIES = [1, 2, 3]

async function copies(model: string, folder: string): Promise<{ paths: string[]; members: Values[] }> {
  const paths = COPIES.map(i => join(folder, `copy-${i}.onnx`))
  const members: Values[] = []
  for (const i of COPIES) members.push(await perturb(join(ROOT, model), paths[i - 1]!, i))
  return { paths, members }
}

async function weightsOf(path: string): Promise<Values> {
  const file = await loadModel(path)
  try {
    const values: Values = new Map()
    for (const { name, tensor, fixed } of modelWeights(file.model)) {
      if (fixed === null) values.set(name, Float32Array.from((await tensor.load()).toNumbers()))
    }
    return values
  } finally {
    await file.close()
  }
}

test('the average of copies is their mean, rounded once', () =>
  inFolder(async folder => {
    const { paths, members } = await copies(MODEL, folder)
    const out = join(folder, 'averaged.onnx')
    const result = await json<AverageResult>('average', ...paths, '-o', out)
    assert.equal([result.method, result.members, result.path], ['mean', 3, out])
    assert.match(result.warnings.join(), 'running statistics of 3 batch normalizations')
    const manifest = JSON.parse(await readFile(join(folder, 'averaged.manifest.json'), 'utf8')) as {
      members: { name: string; file: string; digest: string; weight: number }[]
      output: { files: { name: string; sha256: string }[] }
      tensors: { name: string; policy: string }[]
    }
    assert.equal(
      manifest.members.map(({ name, file, weight }) => [name, file, weight]),
      paths.map(path => [basename(path), path, 1]),
    )
    const sha256 = createHash('sha256')
      .update(await readFile(out))
      .digest('hex')
    assert.equal(
      manifest.output.files.map(file => [file.name, file.sha256]),
      [['averaged.onnx', sha256]],
    )
    assert.ok(manifest.tensors.some(({ policy }) => policy === 'average'))
    const averaged = await weightsOf(out)
    assert.is(averaged.size, members[0]!.size)
    for (const [name, values] of averaged) {
      // Three float32 numbers of like size add up exactly in float64 but for the last bits.
      const mean = values.map((_, i) => members.reduce((sum, member) => sum + member.get(name)![i]!, 0) / 3)
      assert.equal(values, mean, name)
    }
  }))

test('an output that exists is kept, unless --force says otherwise', () =>
  inFolder(async folder => {
    const { paths } = await copies(MODEL, folder)
    const out = join(folder, 'averaged.onnx')
    assert.is((await swa('average', ...paths, '-o', out)).code, 0)
    const before = await readFile(out)
    const refused = await swa('average', ...paths.slice(1), '-o', out)
    assert.is(refused.code, 2)
    assert.match(refused.stderr, `error: --out: ${out} exists\n  help: name another file`)
    assert.equal(await readFile(out), before)
    assert.is((await swa('average', ...paths.slice(1), '-o', out, '--force')).code, 0)
    assert.not.equal(await readFile(out), before)
  }))

test('--dry-run prints the plan and writes nothing; weights may be given', () =>
  inFolder(async folder => {
    const { paths } = await copies(MODEL, folder)
    const out = join(folder, 'averaged.onnx')
    const plan = await json<AveragePlan>('average', ...paths, '--dry-run', '-o', out, '--weights', '1,1,2')
    assert.equal([plan.title, plan.count], ['weighted mean', 4])
    assert.not.ok(existsSync(out))
  }))

test('partial averages of parts give the bytes of the whole average', () =>
  inFolder(async folder => {
    const { paths } = await copies(MODEL, folder)
    const [whole, parts] = [join(folder, 'whole.onnx'), join(folder, 'parts.onnx')]
    const sums = [join(folder, 'a.safetensors'), join(folder, 'b.safetensors')]
    const done = await Promise.all([
      swa('average', ...paths, '-o', whole),
      swa('average', paths[2]!, '--partial', '-o', sums[0]!),
      swa('average', paths[0]!, paths[1]!, '--partial', '-o', sums[1]!),
    ])
    assert.equal(
      done.map(({ code }) => code),
      [0, 0, 0],
      done.map(({ stderr }) => stderr).join(),
    )
    const merged = await swa('average', ...sums, '--into', paths[0]!, '-o', parts)
    assert.is(merged.code, 0, merged.stderr)
    assert.equal(await readFile(parts), await readFile(whole))
  }))

test('with data, the average is recalibrated and compared with its members', () =>
  inFolder(async folder => {
    const { paths } = await copies(CLASSIFIER, folder)
    const data = await renderLines(join(folder, 'lines'), 6)
    const out = join(folder, 'averaged.onnx')
    const result = await json<AverageResult>(
      ...['average', ...paths, '-o', out, '--data', data, '--val', data, ...LINES],
    )
    assert.is(result.recalibrated?.sites.length, 35)
    assert.equal(result.warnings, [])
    assert.equal(
      result.evaluation?.models.map(({ model }) => model),
      [...paths, out],
    )
    const file = await loadModel(out)
    const { model } = file
    await file.close()
    assert.equal([...model.metadata.keys()].slice(-2), ['swa_onnx.bn_mode', 'swa_onnx.bn_samples'])
    assert.is(model.metadata.get('swa_onnx.count'), '3')
  }))

test('--soup averages the members that are best together, never worse than the best one', () =>
  inFolder(async folder => {
    const { paths } = await copies(CLASSIFIER, folder)
    const data = await renderLines(join(folder, 'lines'), 6)
    const out = join(folder, 'soup.onnx')
    // The model itself among copies whose weights were moved at random.
    const members = [...paths, join(ROOT, CLASSIFIER)]
    const { soup, files, evaluation } = await json<AverageResult>(
      ...['average', ...members, '-o', out, '--soup', 'best', '--val', data, '--data', data, ...LINES],
    )
    assert.is(soup!.tried.length, 15)
    assert.equal(files, soup!.members)
    const singles = soup!.tried.slice(0, 4)
    assert.equal(
      singles.map(({ members: [path] }) => path),
      members,
    )
    assert.ok(singles.every(({ score }) => score <= soup!.score))
    const accuracy = (path: string) =>
      evaluation!.models.find(({ model }) => model === path)!.metrics['top1']!
    assert.ok(soup!.members.every(path => accuracy(path) <= accuracy(out)))
    assert.equal(await readdir(folder), [
      'copy-1.onnx',
      'copy-2.onnx',
      'copy-3.onnx',
      'lines',
      'soup.manifest.json',
      'soup.onnx',
    ])
  }))

test('--gate keeps what is there when the average is worse than the best member; else it is replaced', () =>
  inFolder(async folder => {
    const { paths } = await copies(CLASSIFIER, folder)
    const data = await renderLines(join(folder, 'lines'), 6)
    const out = join(folder, 'averaged.onnx')
    await writeFile(out, 'old')
    const original = join(ROOT, CLASSIFIER)
    const gated = ['-o', out, '--force', '--val', data, '--gate', ...LINES]
    // The model itself and copies whose weights were moved far, batch norms left as they are: their average is worse.
    const { code, stderr } = await swa('average', original, ...paths, ...gated)
    assert.is(code, 5, stderr)
    assert.match(stderr, /the average is worse than .*ch_ppocr.*: expected top-1 .* or better, found top-1/)
    assert.is(await readFile(out, 'utf8'), 'old')
    assert.not.ok((await readdir(folder)).some(name => name.startsWith('.')))
    // One member alone is as good as itself: recalibrated on the data that it is measured on, better.
    const { evaluation } = await json<AverageResult>('average', paths[0]!, ...gated, '--data', data)
    assert.equal(
      evaluation!.models.map(({ model }) => model),
      [paths[0], out],
    )
    assert.not.equal(await readFile(out, 'utf8'), 'old')
    const missing = await swa('average', ...paths, '-o', out, '--force', '--gate')
    assert.is(missing.code, 2)
    assert.match(missing.stderr, '--gate: there are no data to compare on')
  }))

test('members that are weights alone are measured in the model that receives the average', () =>
  inFolder(async folder => {
    const { paths, members } = await copies(CLASSIFIER, folder)
    const snapshots = paths.map(path => path.replace('.onnx', '.safetensors'))
    const model = await loadModel(paths[0]!)
    const shapes = new Map(modelWeights(model.model).map(({ name, tensor }) => [name, tensor.dims]))
    await model.close()
    for (const [k, values] of members.entries()) {
      const tensors = [...values].map(
        ([name, numbers]) => [name, Tensor.of('float32', shapes.get(name)!, numbers)] as const,
      )
      await writeSafetensors(snapshots[k]!, tensors)
    }
    const data = await renderLines(join(folder, 'lines'), 4)
    const measure = (files: string[], name: string) =>
      json<AverageResult>(
        ...[
          'average',
          ...files,
          '--into',
          paths[0]!,
          '-o',
          join(folder, name),
          '--val',
          data,
          '--data',
          data,
          ...LINES,
        ],
      )
    const [weights, models] = [await measure(snapshots, 'a.onnx'), await measure(paths, 'b.onnx')]
    assert.equal(
      weights.evaluation!.models.map(({ metrics }) => metrics),
      models.evaluation!.models.map(({ metrics }) => metrics),
    )
    assert.equal(weights.evaluation!.models.map(({ model }) => model).slice(0, 3), snapshots)
  }))

test('methods by the command line; an option of another method is refused', () =>
  inFolder(async folder => {
    const { paths, members } = await copies(MODEL, folder)
    const out = join(folder, 'median.onnx')
    const { method } = await json<AverageResult>('average', ...paths, '-o', out, '--method', 'median')
    assert.is(method, 'median')
    for (const [name, values] of await weightsOf(out)) {
      const middle = values.map(
        (_, i) => members.map(member => member.get(name)![i]!).sort((a, b) => a - b)[1]!,
      )
      assert.equal(values, middle, name)
    }
    const plan = await json<AveragePlan>('average', ...paths, '--dry-run', '--method', 'ema', '--last', '2')
    assert.equal(
      plan.files.map(({ path, weight }) => [path, weight]),
      [
        [paths[1], 9 * (2 ** 27 / 10)].map(x => (typeof x === 'number' ? Math.round(x) : x)),
        [paths[2], Math.round(2 ** 27 / 10)],
      ],
    )
    for (const [option, message] of [
      [['--decay', '0.5'], '--decay: it goes with --method ema, found mean'],
      [['--method', 'ties'], 'ties needs the model that the members were fine-tuned from'],
      [['--soup', 'greedy'], '--soup: there are no data to choose members by'],
    ] as const) {
      const { code, stderr } = await swa('average', ...paths, '-o', join(folder, 'x.onnx'), ...option)
      assert.is(code, 2, stderr)
      assert.match(stderr, message)
    }
  }))

test('--map and --ignore say what names and values do not, and --dry-run shows how places were found', () =>
  inFolder(async folder => {
    const members = ['mlp-1.safetensors', 'mlp-2.pt', 'mlp-3.safetensors'].map(name => join(PLACING, name))
    const into = join(PLACING, 'mlp-strange.onnx')
    const maps = [
      'back.weight=onnx::MatMul_36',
      'first.weight=onnx::MatMul_33',
      'left.weight.T=onnx::MatMul_34',
    ]
    const options = [...maps.flatMap(map => ['--map', map]), '--ignore', 'right.*', '--ignore', '*.bias']
    const shown = await swa('average', ...members, '--into', into, ...options, '--dry-run')
    assert.is(shown.code, 0, shown.stderr)
    assert.match(shown.stdout, 'places in the model: 1 by name, 3 by --map, 1 by shape')
    assert.match(shown.stdout, /left\.weight +onnx::MatMul_34 +by --map, transposed\n/)
    assert.match(shown.stdout, /last\.weight +onnx::MatMul_37 +by shape, transposed \(the only one left\)\n/)
    assert.match(shown.stdout, /right\.weight +float32\[16,16\] +drop +left out by --ignore "right\.\*"/)
    assert.match(shown.stderr, 'placed by shape alone: "last.weight" is "onnx::MatMul_37"')
    const plan = await json<AveragePlan>('average', ...members, '--into', into, ...options, '--dry-run')
    const left = plan.tensors.find(({ name }) => name === 'left.weight')!
    assert.equal([left.place, left.transposed, left.placed], ['onnx::MatMul_34', true, { by: 'map' }])
    const result = await json<AverageResult>(
      ...['average', ...members, '--into', into, ...options, '-o', join(folder, 'out.onnx')],
    )
    assert.equal(result.warnings, plan.warnings)
    const wrong = await swa('average', ...members, '--into', into, '--map', 'last.weight', '--dry-run')
    assert.equal(
      [wrong.code, wrong.stderr],
      [
        2,
        'error: --map: expected NAME=PLACE, found "last.weight"\n  help: give the name of a tensor of the checkpoints and that of its place in the model\n',
      ],
    )
  }))

test('a result that does not fit its name is refused before any work', () =>
  inFolder(async folder => {
    const { paths } = await copies(MODEL, folder)
    const { code, stderr } = await swa('average', ...paths, '-o', join(folder, 'averaged.safetensors'))
    assert.is(code, 2)
    assert.match(stderr, 'the result is an ONNX model')
    assert.match(stderr, 'help: give it a name that ends in .onnx')
  }))

test.run()
