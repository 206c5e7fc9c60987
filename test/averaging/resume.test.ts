/** An average that was killed goes on where it was, and ends with the bytes of one that was not. */

import { spawn } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { open, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { planAverage, runAverage } from '../../src/averaging/index.ts'
import { loadModel, saveModel, writeSafetensors } from '../../src/serde/index.ts'
import { Builder } from '../../src/ir/builder.ts'
import { Graph, Model } from '../../src/ir/graph.ts'
import { Value } from '../../src/ir/value.ts'
import { Tensor } from '../../src/tensor/tensor.ts'
import { InputError, InterruptedError } from '../../src/util/errors.ts'
import { Random } from '../../src/util/random.ts'
import { errorOf } from '../support/errors.ts'
import { ROOT } from '../cli/support/cli.ts'
import { withFolder } from './support/folder.ts'

const test = suite('averaging: resume')
/** Each tensor is 16 MiB, so that it is noted twice how far a file of twelve is. */
const SIDE = 2048
const LAYERS = 12

function layers(seed: number): [string, Tensor][] {
  const random = Random.of(seed)
  const pool = Float32Array.from({ length: 4099 }, () => random.normal())
  return Array.from({ length: LAYERS }, (_, l) => {
    const values = Float32Array.from({ length: SIDE * SIDE }, (_, i) => pool[(i * 7 + l) % pool.length]!)
    return [`layer${l}.weight`, Tensor.of('float32', [SIDE, SIDE], values)]
  })
}

/** Runs the command until it has noted how far it is, and kills it. */
async function killInBetween(args: readonly string[], journal: string): Promise<void> {
  const child = spawn(process.execPath, ['--import', 'tsx', 'src/cli/main.ts', ...args], {
    cwd: ROOT,
    stdio: 'ignore',
  })
  const closed = new Promise<number | null>(resolve => child.on('close', resolve))
  const noted = () => existsSync(journal) && readFileSync(journal, 'utf8').split('\n').length > 2
  while (!noted() && child.exitCode === null) await new Promise(resolve => setTimeout(resolve, 1))
  child.kill('SIGKILL')
  await closed
}

test('safetensors: killed, then resumed', () =>
  withFolder(async file => {
    const paths = ['1', '2'].map(name => file(`step-${name}.safetensors`))
    for (const [k, path] of paths.entries()) await writeSafetensors(path, layers(k))
    const out = file('out.safetensors')
    const journal = file('.out.safetensors.unfinished.jsonl')
    // On a busy machine the end may come before the kill.
    for (let attempt = 0; attempt < 5 && !existsSync(journal); attempt++) {
      await killInBetween(['average', ...paths, '-o', out, '--resume', '--force'], journal)
    }
    await rm(out, { force: true })
    const notes = (await readFile(journal, 'utf8')).trim().split('\n').slice(1)
    const { bytes, segments } = JSON.parse(notes[0]!) as { bytes: number; segments: number }
    assert.ok(bytes >= 64 << 20 && segments >= 4)
    // What is finished is not made again: were it, the mark would be gone.
    const unfinished = await open(file('.out.safetensors.unfinished'), 'r+')
    const at = bytes - 8
    const mark = Buffer.from([1, 2, 3, 4])
    const before = Buffer.alloc(4)
    await unfinished.read(before, 0, 4, at)
    await unfinished.write(mark, 0, 4, at)
    await unfinished.close()

    const plan = await planAverage(paths)
    const resumed = await runAverage(plan, out, { resume: true })
    const whole = await runAverage(plan, file('whole.safetensors'))
    assert.equal(resumed.records, whole.records, 'hashes of members, those from before among them')
    const [found, expected] = [await readFile(out), await readFile(file('whole.safetensors'))]
    assert.ok(found.subarray(at, at + 4).equals(mark))
    before.copy(found, at)
    assert.ok(found.equals(expected))
    assert.equal(
      (await readdir(file(''))).filter(name => name.startsWith('.')),
      [],
    )
  }))

test('a model with a data file: interrupted, then resumed', () =>
  withFolder(async file => {
    const paths = ['1', '2'].map(name => file(`step-${name}.onnx`))
    for (const [k, path] of paths.entries()) {
      const op = new Builder()
      const x = Value.typed('x', 'float32', [1, SIDE])
      const graph = new Graph('g')
      let y = x
      for (const [name, tensor] of layers(k + 5)) {
        const weight = Value.constant(name, tensor)
        graph.initializers.push(weight)
        y = op.MatMul(y, weight)
      }
      graph.inputs = [x]
      graph.nodes = op.nodes
      graph.outputs = [y]
      await saveModel(new Model(graph, 10, new Map([['', 21]])), path, {
        externalData: { location: `step-${k}.data` },
      })
    }
    const out = file('out.onnx')
    const plan = await planAverage(paths)
    const controller = new AbortController()
    const interrupted = await errorOf(
      runAverage(plan, out, {
        resume: true,
        signal: controller.signal,
        onProgress: ({ done, total }) => {
          if (done > 0.6 * total) controller.abort()
        },
      }),
    )
    assert.instance(interrupted, InterruptedError)
    assert.match(interrupted.message, /what is finished is kept/)
    assert.not.ok(existsSync(out) || existsSync(`${out}.data`))
    await runAverage(plan, out, { resume: true })
    await runAverage(plan, file('whole.onnx'))
    assert.ok((await readFile(`${out}.data`)).equals(await readFile(file('whole.onnx.data'))))
    const model = await loadModel(out)
    assert.is(model.model.metadata.get('swa_onnx.count'), '2')
    await model.close()
  }))

test('another average begins anew; so does one whose file is shorter than was noted; errors leave nothing', () =>
  withFolder(async file => {
    const paths = ['1', '2', '3'].map(name => file(`step-${name}.safetensors`))
    for (const [k, path] of paths.entries()) {
      await writeSafetensors(path, [['w', Tensor.of('float32', [2], [k, k === 2 ? NaN : 1])]])
    }
    const out = file('out')
    const [unfinished, journal] = [file('.out.unfinished'), file('.out.unfinished.jsonl')]
    await writeFile(unfinished, 'something else')
    await writeFile(journal, '{"key":"of another plan"}\n{"segments":1,"bytes":14,"digests":{}}\n')
    const plan = await planAverage(paths.slice(0, 2))
    await runAverage(plan, out, { resume: true })
    await runAverage(plan, file('whole'))
    assert.ok((await readFile(out)).equals(await readFile(file('whole'))))

    const broken = await errorOf(runAverage(await planAverage(paths), file('new'), { resume: true }))
    assert.instance(broken, InputError)
    assert.equal(
      (await readdir(file(''))).filter(name => name.startsWith('.')),
      [],
    )
  }))

test.run()
