/** The page's worker: everything that computes, so that the page stays responsive. */

import { decodeBlob } from '../../browser/canvas.ts'
import { createPipeline } from '../../data/pipeline.ts'
import type { Field } from '../../data/dataset.ts'
import { makeTokenizer, type TokenizerConfig, type TokenizerJson } from '../../data/text/tokenizer.ts'
import { fromWire, toWire, type WireTensor } from '../../runtime/ort/messages.ts'
import { openWasmRunner } from '../../runtime/ort-web/index.ts'
import { sizeOf } from '../../tensor/shape.ts'
import { Tensor } from '../../tensor/tensor.ts'
import { messageOf } from '../../util/errors.ts'
import { DATATYPES } from '../protocol/datatypes.ts'
import type { Source, TaskRequest, TaskResponse, Tasks } from './messages.ts'

/** The worker's global scope, which the types of pages do not know. */
const scope = globalThis as unknown as {
  postMessage(message: TaskResponse): void
  addEventListener(kind: 'message', listener: (event: MessageEvent<TaskRequest>) => void): void
}

/** Beside the folder of this file: the worker itself may have been started from a blob. */
const runtime = new URL('../ort/', import.meta.url).href

const IMAGE: Field = { name: 'image', layout: 'HWC', dims: null, dtype: 'uint8', range: null }

type Results = { [K in keyof Tasks]: (given: Tasks[K]['arguments']) => Promise<Tasks[K]['result']> }

const tasks: Results = {
  async image({ file, name, transforms, datatype, count }) {
    const pipeline = createPipeline(transforms, IMAGE)
    const draw = pipeline.draw(null)
    const pixels = await decodeBlob(file, name, draw.geometry ?? undefined)
    const dims = pipeline.dimsOf(pixels)
    const size = sizeOf(dims)
    const values = new Float32Array(count * size)
    pipeline.writeInput(pixels, draw, values, 0)
    for (let i = 1; i < count; i++) values.copyWithin(i * size, 0, size)
    const dtype = DATATYPES[datatype]
    return toWire(Tensor.of(dtype, [count, ...dims], dtype === 'float32' ? values : Array.from(values)))
  },

  async tokenize({ tokenizer, config, text, length }) {
    const json = (await (await load(tokenizer)).json()) as TokenizerJson
    const settings = config === null ? {} : ((await (await load(config)).json()) as TokenizerConfig)
    const encoder = await makeTokenizer('tokenizer.json', json, settings)
    const most = length ?? Math.min(encoder.longest ?? MOST_TOKENS, MOST_TOKENS)
    const { ids, types } = encoder.encode(text, null, most)
    const total = encoder.encode(text, null, Infinity).ids.length
    return { ids, types, padId: encoder.padId, total }
  },

  async run({ model, dataFiles, feeds }) {
    const bytes = await loadBytes(model)
    const beside = await Promise.all(
      dataFiles.map(async file => ({ path: file.name, data: await loadBytes(file) })),
    )
    // Not kept for the next time: another file may be in service under the same name by then.
    const runner = await openWasmRunner(bytes, beside, { wasmPaths: runtime })
    try {
      const started = performance.now()
      const outputs = await runner.run(
        new Map(feeds.map(([name, tensor]): [string, Tensor] => [name, fromWire(tensor)])),
      )
      const ms = performance.now() - started
      return {
        outputs: [...outputs].map(([name, tensor]): [string, WireTensor] => [name, toWire(tensor)]),
        ms,
      }
    } finally {
      await runner.close()
    }
  },
}

/** What transformers may take where neither the model nor the tokenizer says it. */
const MOST_TOKENS = 512

async function load({ url, headers }: Source): Promise<Response> {
  const response = await fetch(url, { headers, cache: 'no-cache' })
  if (response.ok) return response
  throw new Error(`${url}: the server answered ${response.status}`)
}

async function loadBytes(source: Source): Promise<Uint8Array> {
  return new Uint8Array(await (await load(source)).arrayBuffer())
}

scope.addEventListener('message', ({ data: { id, task, arguments: given } }) => {
  const run = tasks[task] as (given: unknown) => Promise<Tasks[keyof Tasks]['result']>
  run(given).then(
    result => scope.postMessage({ id, result }),
    (error: unknown) => scope.postMessage({ id, error: messageOf(error) }),
  )
})
