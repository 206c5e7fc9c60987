/** The page's worker: everything that computes, so that the page stays responsive. */

import {
  decodeIdx,
  finetuneInBrowser,
  inspectInBrowser,
  InterruptedError,
  openImages,
  preferredWebEngine,
  probeWebEngines,
  SwaError,
  type ArrayData,
  type BrowserData,
} from '../index.ts'
import type { DataChoice, FromWorker, ModelChoice, StartRequest, ToWorker } from './messages.ts'

/** The worker's global scope, which the types of pages do not know. */
const scope = globalThis as unknown as {
  postMessage(message: FromWorker, transfer?: Transferable[]): void
  addEventListener(kind: 'message', listener: (event: MessageEvent<ToWorker>) => void): void
}

/** Beside this file: it may have been started from a blob. */
const folder = new URL('./', import.meta.url)

let running: AbortController | null = null

const handlers: { [K in ToWorker['kind']]: (message: Extract<ToWorker, { kind: K }>) => Promise<void> } = {
  async probe() {
    const reports = await probeWebEngines()
    scope.postMessage({ kind: 'engines', reports, preferred: preferredWebEngine(reports) })
  },

  async inspect({ model }) {
    const { bytes, name } = await readModel(model)
    const { parameters, nodes, opset, obstacles } = await inspectInBrowser(bytes, name)
    const count = parameters.trainable.toLocaleString('en-US')
    scope.postMessage({
      kind: 'inspected',
      summary: `${nodes} nodes, opset ${opset}, ${count} trainable numbers`,
      obstacles: obstacles.map(({ message, cure }) =>
        cure === null ? message : `${message}. To cure it: ${cure}`,
      ),
    })
  },

  async start({ request }) {
    running = new AbortController()
    try {
      await train(request, running.signal)
    } finally {
      running = null
    }
  },

  stop() {
    running?.abort(new InterruptedError('training was stopped'))
    return Promise.resolve()
  },
}

async function train({ model, data, options, engine }: StartRequest, signal: AbortSignal): Promise<void> {
  const { bytes, name } = await readModel(model)
  const result = await finetuneInBrowser({
    model: bytes,
    name,
    ...(await readData(data)),
    options,
    engine,
    web: { wasmPaths: new URL('ort/', folder).href },
    onEvent: event => scope.postMessage({ kind: 'event', event }),
    signal,
  })
  const { candidates, swaIsBest, steps, snapshots, recalibrated, averaged, last } = result
  scope.postMessage({
    kind: 'done',
    result: {
      candidates: candidates.map(candidate => ({
        name: candidate.name,
        step: candidate.step,
        metrics: candidate.metrics,
      })),
      ...{ swaIsBest, steps, averaged, last },
      snapshots: snapshots.length,
      recalibrated: recalibrated && recalibrated.samples,
    },
  })
}

async function readModel(choice: ModelChoice): Promise<{ bytes: Uint8Array; name: string }> {
  if (choice.kind === 'file') {
    return { bytes: new Uint8Array(await choice.file.arrayBuffer()), name: choice.file.name }
  }
  return { bytes: await fetchBytes('demo/digits_cnn.onnx', false), name: 'digits_cnn.onnx' }
}

async function readData(choice: DataChoice): Promise<{ data: BrowserData; val?: BrowserData }> {
  if (choice.kind === 'digits') return { data: await readDigits('train'), val: await readDigits('t10k') }
  const { train, val } = openImages(choice.files, choice.name)
  return val ? { data: train, val } : { data: train }
}

/** One part of the digits: a gzipped pair of IDX files. */
async function readDigits(part: 'train' | 't10k'): Promise<ArrayData> {
  const read = async (name: string) => decodeIdx(await fetchBytes(`demo/${name}.gz`, true), name)
  const images = await read(`${part}-images-idx3-ubyte`)
  const labels = await read(`${part}-labels-idx1-ubyte`)
  return {
    name: `digits (${part})`,
    images: images.data,
    dims: images.dims,
    labels: labels.data as Uint8Array,
  }
}

async function fetchBytes(path: string, gzipped: boolean): Promise<Uint8Array> {
  const response = await fetch(new URL(path, folder))
  if (!response.ok || !response.body) throw new SwaError(`${path}: the server answered ${response.status}`)
  const stream = gzipped ? response.body.pipeThrough(new DecompressionStream('gzip')) : response.body
  return new Uint8Array(await new Response(stream).arrayBuffer())
}

scope.addEventListener('message', ({ data }) => {
  const handler = handlers[data.kind] as (message: ToWorker) => Promise<void>
  handler(data).catch((error: unknown) => {
    scope.postMessage({
      kind: 'failed',
      message: error instanceof Error ? error.message : String(error),
      cure: (error instanceof SwaError ? error.cure : undefined) ?? null,
      stopped: error instanceof InterruptedError,
    })
  })
})
