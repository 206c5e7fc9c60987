/** Names and versions that are none, ways out of a folder, and doors that need a key. */

import { ADMIN_TOKEN, API_KEY } from './attacked-server.ts'
import { SUM, type HostileCase } from './hostile-case.ts'
import { GOOD } from './hostile-json.ts'
import { get, post } from './raw-http.ts'

const BODY = JSON.stringify(GOOD)

const NAMES = [
  ...[
    '..',
    '.',
    '...',
    '%2e%2e',
    '%2E.',
    '..%2f..%2fetc%2fpasswd',
    '%2e%2e%2f',
    '..%5c..',
    '%00',
    'sum%00',
    'sum%20',
  ],
  ...[
    '%',
    '%2',
    '%zz',
    '%c0%ae%c0%ae',
    '%e2%82',
    '%ff',
    '%252e%252e',
    'a'.repeat(129),
    'a'.repeat(10_000),
    '~',
    '*',
    ':model',
  ],
  ...[
    's%75m%2f',
    '%2fetc%2fpasswd',
    'C:%5C',
    'sum;v=1',
    'sum,int8',
    '%F0%9F%92%A9',
    '%E2%80%AE',
    "'",
    '%22',
    '%3Cscript%3E',
    '$%7Bx%7D',
  ],
  ...[
    '__proto__',
    'constructor',
    'toString',
    'hasOwnProperty',
    'none',
    'SUM',
    '%0d%0aX:1',
    'sum%0a',
    '-',
    '_',
  ],
]
const VERSIONS = [
  ...[
    '0',
    '2',
    '01',
    '-1',
    '1.0',
    '1e0',
    '+1',
    '0x1',
    '%31%00',
    'latest',
    '..',
    '%2e%2e',
    '1%2f..',
    '18446744073709551617',
  ],
  ...['9'.repeat(19), '9'.repeat(10_000), '%D9%A1', 'NaN', 'null', '%20', '1%20', '__proto__', '*', '1;1'],
]

/** Names and versions that are none, and ways out of a folder. */
export function paths(): HostileCase[] {
  const ends = ['', '/ready', '/config', '/stats']
  // A version that is not there is not ready, which is an answer.
  const absent = /^[02]$/
  const names = NAMES.flatMap((name): HostileCase[] => [
    ...ends.map(end => ({
      name: `model ${name.slice(0, 30)}${end}`,
      sent: get(`/v2/models/${name}${end}`),
      end: 'refused' as const,
    })),
    { name: `infer ${name.slice(0, 30)}`, sent: post(`/v2/models/${name}/infer`, BODY), end: 'refused' },
    {
      name: `load ${name.slice(0, 30)}`,
      sent: post(`/v2/repository/models/${name}/load`, '{}'),
      end: 'refused',
    },
    { name: `file ${name.slice(0, 30)}`, sent: get(`/page/files/sum/1/${name}`), end: 'refused' },
    { name: `page ${name.slice(0, 30)}`, sent: get(`/page/static/${name}`), end: 'refused' },
  ])
  const versions = VERSIONS.flatMap((version): HostileCase[] => [
    ...ends
      .filter(end => end !== '/ready' || !absent.test(version))
      .map(end => ({
        name: `version ${version.slice(0, 30)}${end}`,
        sent: get(`/v2/models/sum/versions/${version}${end}`),
        end: 'refused' as const,
      })),
    {
      name: `infer version ${version.slice(0, 30)}`,
      sent: post(`/v2/models/sum/versions/${version}/infer`, BODY),
      end: 'refused',
    },
  ])
  const others = [
    ...[
      '/../../etc/passwd',
      '/page/static/../../../package.json',
      '/page/ort/../../../../etc/passwd',
      '/v2/models//infer',
      '//v2',
    ],
    ...[
      '/page/static/..%2f..%2fpackage.json',
      '/page/files/sum/1/..%2f..%2f1%2fmodel.onnx',
      '/page/files/..%2fsum/1/model.onnx',
    ],
    ...[
      '/v2/models/sum/versions/1/../../../..',
      '/v2/models/sum/versions//ready',
      '/.env',
      '/.git/config',
      '/v2/',
      '/V2',
      '/v2;a',
    ],
    ...[
      '/v2/models/sum/versions/1/infer/x',
      '*',
      'http://evil.example/v2/x',
      '/v2/models',
      '/v2/models/sum/versions',
      '/v1/models',
    ],
    ...[
      '/%',
      '/%00',
      '/v2%2fmodels%2fsum',
      '/v2?%',
      '/\\..\\..',
      '/page/static/%00',
      `/${'a/'.repeat(5000)}`,
      '/page/static/',
    ],
  ]
  return [
    ...names,
    ...versions,
    ...others.map((path): HostileCase => ({
      name: `path ${path.slice(0, 60)}`,
      sent: get(path),
      end: path === '/v2/' || path === '/v2?%' ? 'any' : 'refused',
    })),
  ]
}

/** Requests that need a key or a token, without it, with others, and half of it. */
export function accesses(): HostileCase[] {
  const wrong: readonly Readonly<Record<string, string>>[] = [
    ...[
      '',
      'Bearer',
      'Bearer ',
      'Bearer x',
      `Basic ${API_KEY}`,
      `Bearer ${API_KEY}x`,
      `Bearer ${API_KEY.slice(1)}`,
      API_KEY,
    ].map(Authorization => ({ Authorization })),
    { Authorization: `Bearer ${'a'.repeat(10_000)}` },
    { 'X-API-Key': '' },
    { 'X-API-Key': `${API_KEY}\t1` },
    { Cookie: `key=${API_KEY}` },
    {},
  ]
  const admin = [...wrong, { Authorization: `Bearer ${API_KEY}` }]
  return [
    ...wrong.flatMap((headers): HostileCase[] => [
      { name: `infer with ${JSON.stringify(headers)}`, sent: post(SUM, BODY, headers), end: 401 },
      { name: `metadata with ${JSON.stringify(headers)}`, sent: get('/v2/models/sum', headers), end: 401 },
      { name: `metrics with ${JSON.stringify(headers)}`, sent: get('/metrics', headers), end: 401 },
    ]),
    ...admin.flatMap(headers =>
      ['load', 'unload'].map((verb): HostileCase => ({
        name: `${verb} with ${JSON.stringify(headers)}`,
        sent: post(`/v2/repository/models/sum/${verb}`, '{}', headers),
        end: Object.values(headers).includes(`Bearer ${API_KEY}`) ? 403 : 401,
      })),
    ),
    ...[
      '{"parameters":{"file:1/model.onnx":"AAAA"}}',
      '{"parameters":{"config":"{}"}}',
      '{"parameters":"x"}',
      '[]',
      '[',
      '1',
      '{',
      '"x"',
      '['.repeat(60_000),
      'x'.repeat(70_000),
    ].map((body): HostileCase => ({
      name: `load of ${body.slice(0, 40)}`,
      sent: post('/v2/repository/models/sum/load', body, { Authorization: `Bearer ${ADMIN_TOKEN}` }),
      end: 400,
    })),
    ...NAMES.map((name): HostileCase => ({
      name: `load of the model ${name.slice(0, 40)}`,
      sent: post(`/v2/repository/models/${name}/load`, '', { Authorization: `Bearer ${ADMIN_TOKEN}` }),
      end: 'refused',
    })),
  ]
}
