/** The Dockerfiles: what they promise, and that what they copy is all that the build needs. No engine is asked. */

import { execFileSync, spawn } from 'node:child_process'
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
} from 'node:fs'
import { createServer } from 'node:http'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import type { AddressInfo } from 'node:net'
import { validate } from 'dockerfile-utils'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { copiedFromContext, execForm, only, stagesOf, textOf, valuesOf } from './support/dockerfile.ts'
import { folder, manifest, read, root } from './support/files.ts'

const FILES = ['Dockerfile', 'Dockerfile.cuda']

/** What the build's context has: a list of exceptions to `*`. */
const context = readFileSync(join(root, '.dockerignore'), 'utf8')
  .split('\n')
  .filter(line => line !== '' && !line.startsWith('#'))

for (const file of FILES) {
  const stages = stagesOf(file)
  const final = stages.at(-1)!
  const runs = stages
    .flatMap(({ instructions }) => instructions.filter(one => one.getKeyword() === 'RUN'))
    .map(textOf)

  test(`${file}: the linter has nothing to say`, () => {
    assert.equal(
      validate(read(file)).map(({ range, message }) => [range.start.line + 1, message]),
      [],
    )
  })

  test(`${file}: stages, and nothing from elsewhere`, () => {
    assert.equal(
      stages.map(({ name }) => name),
      ['package', 'app', null],
    )
    const keywords = stages.flatMap(({ instructions }) => instructions.map(one => one.getKeyword()))
    assert.not(keywords.includes('ADD'))
    assert.equal(
      runs.filter(run => /\b(curl|wget|apt-get|git)\b/.test(run)),
      [],
    )
  })

  test(`${file}: what it copies is there, and is what .dockerignore lets through`, () => {
    const sources = [...new Set(stages.flatMap(copiedFromContext).flatMap(({ sources }) => sources))].sort()
    assert.equal(
      sources.filter(source => !existsSync(join(root, source))),
      [],
    )
    assert.is(context[0], '*')
    assert.equal(context.slice(1).sort(), sources.map(source => `!${source}`).sort())
  })

  test(`${file}: packages as the lockfile has them, no install scripts, only production ones in the image`, () => {
    const installs = runs
      .flatMap(run => run.match(/npm (ci|install|i)\b[^&]*/g) ?? [])
      .map(text => text.trim())
    assert.equal(installs, ['npm ci --ignore-scripts', 'npm ci --omit=dev --ignore-scripts'])
    const cuda = runs.some(run =>
      /ONNXRUNTIME_NODE_INSTALL=cuda12 npm rebuild onnxruntime-node .*libonnxruntime_providers_cuda\.so/.test(
        run,
      ),
    )
    assert.is(cuda, file === 'Dockerfile.cuda')
  })

  test(`${file}: the server is no root, gets signals itself, and is looked after`, () => {
    assert.is(only(final, 'USER'), '10001:10001')
    const entry = execForm(only(final, 'ENTRYPOINT'))
    assert.equal(entry, ['node', `/app/${manifest.bin['swa-onnx']}`])
    assert.is(execForm(only(final, 'CMD'))[0], 'serve')
    assert.is(only(final, 'STOPSIGNAL'), 'SIGTERM')
    assert.is(only(final, 'EXPOSE'), '8000')
    assert.is(only(final, 'WORKDIR'), '/app')
    const check = execForm(only(final, 'HEALTHCHECK').replace(/^CMD /, ''))
    assert.equal(check, ['node', '/app/healthcheck.mjs'])
    const { sources, target } = copiedFromContext(stages[1]!).at(-1)!
    assert.equal([sources, target], [['tools/deploy/healthcheck.mjs'], './'])
  })

  test(`${file}: environment and labels`, () => {
    const env = valuesOf(final, 'ENV')
    assert.is(env['NODE_ENV'], 'production')
    assert.is(env['ORT_DISABLE_TELEMETRY'], '1')
    const labels = valuesOf(final, 'LABEL')
    assert.is(labels['org.opencontainers.image.title'], 'swa-onnx')
    assert.is(labels['org.opencontainers.image.licenses'], 'Apache-2.0')
    assert.is(labels['org.opencontainers.image.version'], '${VERSION}')
    assert.is(labels['org.opencontainers.image.revision'], '${REVISION}')
  })
}

test('both images hold the same package', () => {
  const [cpu, cuda] = FILES.map(file => stagesOf(file)[0]!.instructions.map(one => one.toString()))
  assert.equal(cpu, cuda)
})

test('what is copied builds the package, and the command runs from it', () => {
  const [stage] = stagesOf('Dockerfile')
  const build = mkdtempSync(join(tmpdir(), 'swa-image-'))
  try {
    for (const { sources, target } of copiedFromContext(stage!)) {
      for (const source of sources) {
        // As Docker does it: a folder's content goes into the target, a file into a target that ends with a slash.
        const place = join(build, target, target.endsWith('/') ? basename(source) : '')
        cpSync(join(root, source), place, { recursive: true })
      }
    }
    symlinkSync(join(root, 'node_modules'), join(build, 'node_modules'))
    const out = join(build, 'out')
    mkdirSync(out)
    // The same command as in the file; npm would look for newer versions of itself.
    const env = { ...process.env, npm_config_update_notifier: 'false', npm_config_offline: 'true' }
    assert.match(textOf(stage!.instructions.at(-1)!), /npm pack --pack-destination \/package$/)
    execFileSync('npm', ['pack', '--pack-destination', out], { cwd: build, env, stdio: 'pipe' })

    const app = join(build, 'app')
    mkdirSync(app)
    const archive = join(out, `swa-onnx-${manifest.version}.tgz`)
    execFileSync('tar', ['-xzf', archive, '-C', app, '--strip-components=1', '--no-same-owner'])
    assert.equal(readdirSync(app).sort(), ['LICENSE', 'README.md', 'dist', 'package.json', 'proto'])
    symlinkSync(join(root, 'node_modules'), join(app, 'node_modules'))
    const main = join(app, manifest.bin['swa-onnx']!)
    const version = execFileSync(process.execPath, [main, '--version'], { encoding: 'utf8' })
    assert.is(version.trim(), manifest.version)
  } finally {
    rmSync(build, { recursive: true })
  }
})

/** The exit code of the health check. */
function checkHealth(url: string): Promise<number | null> {
  const env = { ...process.env, HEALTHCHECK_URL: url }
  const child = spawn(process.execPath, [join(folder, 'healthcheck.mjs')], { env, stdio: 'ignore' })
  return new Promise(resolve => child.on('exit', resolve))
}

test('the health check says what the server says', async () => {
  const statuses: Record<string, number> = { '/v2/health/ready': 200, '/v2/health/live': 400 }
  const server = createServer((request, response) => {
    response.statusCode = statuses[request.url!] ?? 404
    response.end()
  })
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  const origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  assert.is(await checkHealth(`${origin}/v2/health/ready`), 0)
  assert.is(await checkHealth(`${origin}/v2/health/live`), 1)
  assert.is(await checkHealth(`${origin}/elsewhere`), 1)
  server.closeAllConnections()
  await new Promise(resolve => server.close(resolve))
  assert.is(await checkHealth(`${origin}/v2/health/ready`), 1)
})

test('the health check does not wait for a server that hangs', async () => {
  const server = createServer(() => undefined)
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  const started = performance.now()
  assert.is(await checkHealth(`http://127.0.0.1:${(server.address() as AddressInfo).port}/`), 1)
  assert.ok(performance.now() - started < 5000, 'the limit of the HEALTHCHECK')
  server.closeAllConnections()
  server.close()
})

test.run()
