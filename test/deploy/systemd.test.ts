/** The systemd unit: what systemd itself says of it, where it is installed, and what it promises. */

import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { InputError, UsageError } from '../../src/util/errors.ts'
import { notTried } from '../support/not-tried.ts'
import { manifest, read } from './support/files.ts'
import { commandOf, environmentOf, readUnit } from './support/unit.ts'

const NAME = 'swa-onnx.service'
const unit = readUnit(NAME)
const service = (key: string) => unit.one('Service', key)
const command = commandOf(unit, { CREDENTIALS_DIRECTORY: '/run/credentials/swa-onnx.service' })

/** The version of systemd-analyze; 0: it is not there. */
const { error, stdout } = spawnSync('systemd-analyze', ['--version'], { encoding: 'utf8' })
const version = error ? 0 : Number(/^systemd (\d+)/.exec(stdout)?.[1] ?? 0)

/** Runs systemd-analyze on the unit, with this Node.js in the place of the one that it names. */
function analyze(text: string, ...args: readonly string[]): { status: number | null; output: string } {
  const folder = mkdtempSync(join(tmpdir(), 'swa-unit-'))
  try {
    const path = join(folder, NAME)
    writeFileSync(path, text.replace('ExecStart=/usr/bin/node', `ExecStart=${process.execPath}`))
    const { status, stdout, stderr } = spawnSync('systemd-analyze', [...args, path], { encoding: 'utf8' })
    return { status, output: stdout + stderr }
  } finally {
    rmSync(folder, { recursive: true })
  }
}

if (version > 0) {
  test('systemd-analyze verify has nothing to say', () => {
    assert.equal(analyze(read(NAME), 'verify'), { status: 0, output: '' })
    // It succeeds although it does not know a key, and says so.
    assert.match(analyze(read(NAME).replace('UMask=', 'UMaks='), 'verify').output, /Unknown key.*UMaks/)
  })
} else {
  notTried(test, 'systemd-analyze verify (systemd-analyze is not installed)')
}

if (version >= 250) {
  test('systemd-analyze security: at most 2 of 10', () => {
    const { status, output } = analyze(
      read(NAME),
      'security',
      '--offline=true',
      '--threshold=20',
      '--no-pager',
    )
    assert.is(status, 0, output)
  })
} else {
  notTried(test, 'systemd-analyze security --offline (it takes systemd-analyze 250 or later)')
}

test('the command is that of the installed package, with values for all that it names', () => {
  assert.equal(command.slice(0, 4), [
    '/usr/bin/node',
    `/opt/swa-onnx/node_modules/swa-onnx/${manifest.bin['swa-onnx']}`,
    'serve',
    '/srv/swa-onnx/models',
  ])
  assert.equal(
    command.filter(word => word.includes('$') || word.includes('undefined')),
    [],
  )
  const { NODE_ENV, ORT_DISABLE_TELEMETRY } = environmentOf(unit)
  assert.equal([NODE_ENV, ORT_DISABLE_TELEMETRY], ['production', '1'])
  assert.is(service('EnvironmentFile'), '-/etc/swa-onnx/serve.env')
})

test('every key comes as a credential, and every credential is used', () => {
  const [id, path] = service('LoadCredential')!.split(':')
  assert.is(path, '/etc/swa-onnx/api-key')
  assert.is(command[command.indexOf('--api-key-file') + 1], `/run/credentials/swa-onnx.service/${id!}`)
})

test('it stops with SIGTERM, with more time than the server takes to drain', () => {
  assert.equal([service('KillSignal'), service('KillMode')], ['SIGTERM', 'mixed'])
  assert.ok(Number(service('TimeoutStopSec')) > Number(command[command.indexOf('--drain-timeout') + 1]))
})

test('it starts again after a failure, unless the next one is certain', () => {
  assert.is(service('Restart'), 'on-failure')
  const certain = [new UsageError(''), new InputError('')].map(({ exitCode }) => exitCode)
  assert.is(service('RestartPreventExitStatus'), certain.join(' '))
  assert.ok(Number(unit.one('Unit', 'StartLimitIntervalSec')) > 0)
})

/** Each with what it must be; null: it must not be there. */
const HARDENING: readonly (readonly [key: string, value: string | null])[] = [
  ['DynamicUser', 'yes'],
  ['ProtectSystem', 'strict'],
  ['ProtectHome', 'yes'],
  ['PrivateTmp', 'yes'],
  ['PrivateDevices', 'yes'],
  ['PrivateUsers', 'yes'],
  ['ProtectProc', 'invisible'],
  ['ProtectClock', 'yes'],
  ['ProtectControlGroups', 'yes'],
  ['ProtectHostname', 'yes'],
  ['ProtectKernelLogs', 'yes'],
  ['ProtectKernelModules', 'yes'],
  ['ProtectKernelTunables', 'yes'],
  ['NoNewPrivileges', 'yes'],
  ['CapabilityBoundingSet', ''],
  ['AmbientCapabilities', ''],
  ['LockPersonality', 'yes'],
  ['RestrictNamespaces', 'yes'],
  ['RestrictRealtime', 'yes'],
  ['RestrictSUIDSGID', 'yes'],
  ['RestrictAddressFamilies', 'AF_INET AF_INET6 AF_UNIX AF_NETLINK'],
  ['SystemCallArchitectures', 'native'],
  ['LimitCORE', '0'],
  ['UMask', '0077'],
  // V8 makes code while it runs.
  ['MemoryDenyWriteExecute', null],
  // /proc/cpuinfo, /proc/stat and /proc/meminfo are needed.
  ['ProcSubset', null],
]

for (const [key, value] of HARDENING) {
  test(`${key} is ${value ?? 'not set'}`, () => assert.is(service(key), value))
}

test('system calls are those of services, without privileged ones', () => {
  assert.equal(unit.all('Service', 'SystemCallFilter'), ['@system-service', '~@privileged'])
})

test.run()
