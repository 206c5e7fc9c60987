/** Parts of the server's page that need no browser, against values computed by hand. */

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import type { PagePort, PageTraffic } from '../../src/serve/http/page-messages.ts'
import { classScores, fittingLabels, scoresOf, softmax, topClasses } from '../../src/serve/page/classes.ts'
import { countedSince, quantile } from '../../src/serve/page/histogram.ts'
import {
  describeTransforms,
  formatPort,
  imagePortOf,
  presetsFor,
  sameInputs,
  takesText,
  transformsOf,
} from '../../src/serve/page/input-shapes.ts'
import { exampleJson, parseJsonInputs } from '../../src/serve/page/json-input.ts'
import { successorOf } from '../../src/serve/page/succession.ts'
import { differenceOf, fromClient, summarize, toClient, toleranceOf } from '../../src/serve/page/tensors.ts'
import { cutRemark, fixedLength, textTensors } from '../../src/serve/page/text-input.ts'
import { TrafficHistory } from '../../src/serve/page/traffic-history.ts'
import type { TensorMetadata } from '../../src/serve/protocol/schemas.ts'
import { Tensor } from '../../src/tensor/tensor.ts'

const port = (name: string, shape: number[], datatype: TensorMetadata['datatype'] = 'FP32'): PagePort => ({
  name,
  shape,
  datatype,
  anyRank: false,
})

const AUTO = { preset: null, height: 224, width: 224 }

test('quantiles lie in their bucket where the counts say', () => {
  const bounds = [0.001, 0.01, 0.1, null]
  // 2 up to 1 ms, 6 more up to 10 ms, 2 more up to 100 ms: the 5th of ten is halfway through the second bucket.
  const histogram = { bounds, counts: [2, 8, 10, 10] }
  assert.ok(Math.abs(quantile(0.5, histogram)! - 0.0055) < 1e-12)
  // 9.9 of 10: 1.9 of the 2 in the third bucket.
  assert.ok(Math.abs(quantile(0.99, histogram)! - (0.01 + 0.09 * 0.95)) < 1e-12)
  // 1 of 10: half of the first bucket, which begins at 0.
  assert.ok(Math.abs(quantile(0.1, histogram)! - 0.0005) < 1e-12)
  assert.is(quantile(0.5, { bounds, counts: [0, 0, 0, 4] }), 0.1, 'the last bucket has no end')
  assert.is(quantile(0.5, { bounds, counts: [0, 0, 0, 0] }), null)
  assert.is(quantile(0.5, { bounds: [], counts: [] }), null)
  assert.is(quantile(1, { bounds: [0.25, 0.5, null], counts: [0, 3, 3] }), 0.5)
})

test('what a histogram counted since is a difference, unless it began anew', () => {
  const bounds = [1, null]
  assert.equal(countedSince({ bounds, counts: [1, 3] }, { bounds, counts: [4, 7] }), {
    bounds,
    counts: [3, 4],
  })
  assert.is(countedSince({ bounds, counts: [4, 7] }, { bounds, counts: [1, 1] }), null)
  const first = { bounds, counts: [1, 1] }
  assert.is(countedSince({ bounds: [], counts: [] }, first), first)
})

test('a history has the rates of each second, and none over a pause', () => {
  const history = new TrafficHistory()
  const reading = (time: number, success: number, failures: number, pending: number): PageTraffic => ({
    time,
    versions: [
      {
        ...{ name: 'm', version: '1', loaded: 1, success, failures, items: success, executions: success },
        pending,
        latency: { bounds: [0.01, 0.02, null], counts: [success, success, success] },
      },
    ],
  })
  const version = { name: 'm', version: '1' }
  history.add(reading(10_000, 5, 0, 0))
  assert.equal(history.of(version), [])
  history.add(reading(12_000, 13, 2, 3))
  // 8 answered and 2 failed in 2 s; all within 10 ms: half of them by 5 ms.
  assert.equal(history.of(version), [{ time: 12, requests: 5, failures: 1, p50: 5, p99: 9.9, pending: 3 }])
  history.interrupt()
  history.add(reading(60_000, 100, 2, 0))
  assert.is(history.of(version).length, 1)
  history.add(reading(61_000, 100, 2, 0))
  assert.equal(history.of(version)[1], {
    ...{ time: 61, requests: 0, failures: 0, p50: null, p99: null, pending: 0 },
  })
  history.add(reading(62_000, 3, 0, 0))
  assert.is(history.of(version).length, 2, 'counters that fell are of a version that was loaded again')
  assert.equal(history.of({ name: 'm', version: '2' }), [])
})

test('images are known by their shapes', () => {
  const layoutOf = (shape: number[], datatype?: TensorMetadata['datatype']) =>
    imagePortOf([port('x', shape, datatype)])?.input.layout ?? null
  assert.is(layoutOf([-1, 3, 224, 224]), 'NCHW')
  assert.is(layoutOf([1, 1, -1, -1]), 'NCHW')
  assert.is(layoutOf([-1, 28, 28, 1]), 'NHWC')
  assert.is(layoutOf([-1, -1, -1, 3], 'UINT8'), 'NHWC')
  assert.is(layoutOf([-1, 4, 224, 224]), null)
  assert.is(layoutOf([-1, 3, 224]), null)
  assert.is(layoutOf([-1, 3, 224, 224], 'INT64'), null)
  assert.is(imagePortOf([port('a', [-1, 3, 8, 8]), port('b', [-1, 2])]), null)
  assert.is(imagePortOf([port('x', [4, 3, 8, 8])])!.count, 4)
})

test('images are prepared as training prepares them', () => {
  const photo = imagePortOf([port('x', [-1, 3, 224, 224])])!
  assert.equal(presetsFor(photo), ['imagenet', 'mnist', 'none'])
  assert.is(
    describeTransforms(transformsOf(photo, AUTO)),
    'short side to 256, centre 224 × 224, in colour, pixels / 255, mean 0.485 0.456 0.406, std 0.229 0.224 0.225',
  )
  const digit = imagePortOf([port('x', [-1, 1, 28, 28])])!
  assert.equal(presetsFor(digit), ['mnist', 'none'])
  assert.is(
    describeTransforms(transformsOf(digit, AUTO)),
    '28 × 28 pixels, gray, pixels / 255, mean 0.1307, std 0.3081',
  )
  assert.is(
    describeTransforms(transformsOf(digit, { ...AUTO, preset: 'none' })),
    '28 × 28 pixels, gray, pixels / 255',
  )
  const bytes = imagePortOf([port('x', [1, -1, -1, 3], 'UINT8')])!
  assert.equal(presetsFor(bytes), [])
  assert.is(
    describeTransforms(transformsOf(bytes, { ...AUTO, height: 32, width: 48 })),
    '48 × 32 pixels, in colour, bytes as they are',
  )
})

test('examples fit the model, and are read as what they say', () => {
  const inputs = [port('ids', [-1, 3], 'INT64'), port('x', [2], 'FP32'), port('s', [1], 'BYTES')]
  const text = exampleJson(inputs)!
  assert.is(
    text,
    `[
  {"name":"ids","datatype":"INT64","shape":[1,3],"data":[1,1,1]},
  {"name":"x","datatype":"FP32","shape":[2],"data":[0,0.37]},
  {"name":"s","datatype":"BYTES","shape":[1],"data":["text 1"]}
]`,
  )
  const tensors = parseJsonInputs(text, inputs)
  assert.equal([...tensors.keys()], ['ids', 'x', 's'])
  assert.equal(tensors.get('ids')!.dims, [1, 3])
  assert.equal(tensors.get('ids')!.toNumbers(), [1, 1, 1])
  assert.equal(tensors.get('x')!.toNumbers(), [0, Math.fround(0.37)])
  assert.equal(toClient(tensors.get('s')!).data, ['text 1'])
  assert.is(exampleJson([port('x', [-1, 3, 224, 224])]), null)
  assert.match(exampleJson([port('x', [1, 2], 'FP16')])!, /"data":\[0,0.37\]/)
  assert.match(exampleJson([port('x', [1, 2], 'FP64')])!, /"data":\[0,0.37\]/)
})

test('JSON may be a whole request, or the arrays of the only input', () => {
  const inputs = [port('x', [-1, 2, 2])]
  const given = (text: string) => {
    const { dims, dtype } = parseJsonInputs(text, inputs).get('x')!
    return [dtype, [...dims], parseJsonInputs(text, inputs).get('x')!.toNumbers()]
  }
  const wanted = ['float32', [1, 2, 2], [1, 2, 3, 4]]
  assert.equal(given('[[[1,2],[3,4]]]'), wanted)
  assert.equal(given('[[1,2],[3,4]]'), wanted, 'one sample')
  assert.equal(given('{"inputs":[{"name":"x","shape":[1,2,2],"datatype":"FP32","data":[1,2,3,4]}]}'), wanted)
  assert.equal(given('[{"name":"x","data":[[[1,2],[3,4]]]}]'), wanted)
  const half = parseJsonInputs('[[1.5, -2]]', [port('h', [-1, 2], 'FP16')]).get('h')!
  assert.equal([...(half.view() as Uint16Array)], [0x3e00, 0xc000])
})

test('an input without a declared rank takes arrays of any', () => {
  const inputs = [{ ...port('x', [-1]), anyRank: true }]
  const dimsOf = (text: string) => [...parseJsonInputs(text, inputs).get('x')!.dims]
  assert.equal(dimsOf('[[1,2],[3,4]]'), [2, 2])
  assert.equal(dimsOf('[1,2,3]'), [3])
  assert.equal(dimsOf('[[[1]]]'), [1, 1, 1])
})

test('what is wrong with JSON is said', () => {
  const one = [port('x', [-1, 2])]
  const fails = (text: string, wanted: RegExp, inputs = one) =>
    assert.throws(
      () => parseJsonInputs(text, inputs),
      (error: Error) => {
        assert.match(error.message, wanted)
        return true
      },
    )
  fails('[1,', /^the text is no JSON/)
  fails('3', /^expected an array of numbers, or of inputs with "name"/)
  fails('[[1,2,3]]', /input "x": expected shape \[-1,2\], found \[1,3\]/)
  fails('[[1,2],[3]]', /expected data for shape \[2,2\]/)
  fails('[{"name":"y","shape":[1,2],"data":[1,2]}]', /unexpected inference input "y"/)
  fails('[{"name":"x","shape":[1,2]}]', /input "x" has no data/)
  fails('[{"name":"x","shape":[1,-2],"data":[]}]', /shape: expected a list of sizes/)
  fails('[{"name":"x","datatype":"INT8","shape":[1,2],"data":[1,2]}]', /expected datatype FP32, found "INT8"/)
  const row = '{"name":"x","shape":[1,2],"data":[1,2]}'
  fails(`[${row},${row}]`, /input "x" is given twice/)
  const two = [...one, port('z', [1])]
  fails(`[${row}]`, /expected 2 inputs, missing: z/, two)
  fails('[1,2]', /expected an array of 2 inputs/, two)
  fails('[["a",2]]', /expected a number/)
  fails('[9007199254740993]', /beyond 2\^53 are not exact/, [port('i', [1], 'INT64')])
})

test('texts become what a transformer takes', () => {
  const inputs = [
    port('input_ids', [-1, 5], 'INT64'),
    port('attention_mask', [-1, 5], 'INT64'),
    port('token_type_ids', [2, -1], 'INT32'),
  ]
  assert.ok(takesText(inputs))
  assert.not.ok(takesText([...inputs, port('pixel_values', [-1, 3], 'INT64')]))
  assert.not.ok(takesText([port('attention_mask', [-1, 5], 'INT64')]))
  assert.is(fixedLength(inputs), 5)
  assert.is(fixedLength([port('input_ids', [-1, -1], 'INT64')]), null)
  const tensors = textTensors({ ids: [101, 7, 102], types: [0, 0, 1], padId: 9, total: 3 }, inputs)
  assert.equal(tensors.get('input_ids')!.toNumbers(), [101, 7, 102, 9, 9])
  assert.equal(tensors.get('attention_mask')!.toNumbers(), [1, 1, 1, 0, 0])
  assert.equal(tensors.get('token_type_ids')!.dims, [2, 5])
  assert.equal(tensors.get('token_type_ids')!.toNumbers(), [0, 0, 1, 0, 0, 0, 0, 1, 0, 0])
  assert.is(tensors.get('token_type_ids')!.dtype, 'int32')
})

test('a text that was cut is told', () => {
  const tokens = { types: [], padId: 0 }
  assert.is(cutRemark({ ...tokens, ids: [1, 2], total: 2 }), '')
  assert.match(cutRemark({ ...tokens, ids: [1, 2], total: 14 }), /Of the 14 tokens .* takes 2\./)
})

test('the version that is tried stays, or gives way to the latest of its model', () => {
  const of = (...names: string[]) =>
    names.map(key => ({ name: key.split(':')[0]!, version: key.split(':')[1]! }))
  const [chosen] = of('b:1')
  const next = (...names: string[]) => {
    const found = successorOf(chosen!, of(...names))
    return found && `${found.name}:${found.version}`
  }
  assert.is(next('a:1', 'b:1', 'b:2'), 'b:1')
  assert.is(next('a:1', 'b:9', 'b:10', 'c:1'), 'b:10')
  assert.is(next('a:1', 'c:1'), 'a:1')
  assert.is(next(), null)
  assert.equal(successorOf(null, of('a:1', 'b:1')), { name: 'a', version: '1' })
})

test('models with the same inputs can be compared', () => {
  assert.ok(sameInputs([port('a', [1]), port('b', [2])], [port('b', [2]), port('a', [1])]))
  assert.not.ok(sameInputs([port('a', [1])], [port('a', [2])]))
  assert.not.ok(sameInputs([port('a', [1])], [port('a', [1], 'FP16')]))
  assert.is(formatPort([-1, 3]), '[?, 3]')
})

test('probabilities are shown as they are, other scores by their softmax', () => {
  const given = scoresOf(Float64Array.of(0.25, 0.75))
  assert.is(given.softmaxed, false)
  assert.equal([...given.probabilities], [0.25, 0.75])
  const scores = scoresOf(Float64Array.of(0, Math.log(3)))
  assert.is(scores.softmaxed, true)
  assert.ok(Math.abs(scores.probabilities[1]! - 0.75) < 1e-12)
  // Without the largest taken off, these would overflow.
  assert.equal([...softmax(Float64Array.of(1000, 1000))], [0.5, 0.5])
  assert.is(scoresOf(Float64Array.of(-0.5, 1.5)).softmaxed, true)
  const other = scoresOf(Float64Array.of(3, 1, 2, 0))
  assert.equal(topClasses([other, scoresOf(Float64Array.of(0, 0, 1, 9))], 2), [0, 2, 3])
})

test('outputs of classes are known', () => {
  const float = (dims: number[]) =>
    Tensor.of('float32', dims, new Array<number>(dims.reduce((a, b) => a * b, 1)).fill(1))
  assert.is(classScores('logits', float([3, 10]), true, null)!.length, 3)
  assert.is(classScores('logits', float([10]), false, null)!.length, 1)
  assert.is(classScores('score', float([10]), true, null), null, 'one number for each of ten samples')
  assert.is(classScores('boxes', float([1, 10, 4]), true, null), null)
  assert.is(classScores('embedding', float([1, 10]), true, null), null)
  assert.is(classScores('logits', float([1, 10]), true, ['a', 'b']), null)
  assert.is(classScores('ids', Tensor.of('int64', [1, 2], [1, 2]), true, null), null)
  assert.is(classScores('logits', Tensor.of('float32', [1, 2], [NaN, 1]), true, null), null)
  assert.is(classScores('logits', float([0, 3]), true, null), null, 'no sample')
  const outputs = new Map([
    ['boxes', float([1, 4])],
    ['logits', float([1, 2])],
  ])
  assert.equal(fittingLabels(outputs, ['a', 'b']), ['a', 'b'])
  assert.is(fittingLabels(outputs, ['a', 'b', 'c']), null)
})

test('differences are relative to the largest magnitude of the first', () => {
  const of = (...values: number[]) => Tensor.of('float64', [values.length], values)
  assert.equal(differenceOf(of(1, -4), of(1.5, -4)), { absolute: 0.5, relative: 0.125 })
  assert.equal(differenceOf(of(NaN, Infinity), of(NaN, Infinity)), { absolute: 0, relative: 0 })
  assert.is(differenceOf(of(NaN, 1), of(0, 1)).absolute, Infinity)
  assert.is(differenceOf(of(0, 0), of(0, 1)).relative, Infinity)
  assert.is(differenceOf(of(1), of(1, 2)).absolute, Infinity)
  const whole = (...values: bigint[]) =>
    new Tensor('int64', [values.length], new Uint8Array(BigInt64Array.from(values).buffer))
  // Both are 2^53 as doubles.
  assert.is(differenceOf(whole(2n ** 53n + 1n), whole(2n ** 53n)).absolute, 1)
  assert.is(differenceOf(whole(2n ** 53n + 1n), whole(2n ** 53n + 1n)).absolute, 0)
  const text = (...data: string[]) => fromClient({ datatype: 'BYTES', shape: [data.length], data })
  assert.is(differenceOf(text('a', 'ü'), text('a', 'ü')).absolute, 0)
  assert.is(differenceOf(text('a'), text('b')).absolute, Infinity)
  assert.is(toleranceOf(['FP32', 'INT64']), 1e-3)
  assert.is(toleranceOf(['FP32', 'FP16']), 1e-2)
  assert.is(toleranceOf(['BF16']), 1e-2)
})

test('a summary leaves out what is not finite', () => {
  assert.equal(summarize(Float64Array.of(1, NaN, 3, -Infinity)), { min: 1, max: 3, mean: 2, notFinite: 2 })
  assert.is(summarize(Float64Array.of(NaN)), null)
  assert.is(summarize(new Float64Array(0)), null)
})

test.run()
