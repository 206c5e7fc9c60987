/** What the page asks of its worker. */

import type { ImageTransforms } from '../../data/transforms.ts'
import type { WireFeeds, WireTensor } from '../../runtime/ort/messages.ts'
import type { Datatype } from '../protocol/datatypes.ts'
import type { Tokens } from './text-input.ts'

/** Where the server has a file, and what it wants to hear before it gives it. */
export interface Source {
  readonly url: string
  readonly headers: Readonly<Record<string, string>>
}

/** Task -> its arguments and its result. */
export interface Tasks {
  /** The tensor of an image file, `count` times. */
  image: {
    arguments: {
      readonly file: Blob
      readonly name: string
      readonly transforms: ImageTransforms
      readonly datatype: Datatype
      readonly count: number
    }
    result: WireTensor
  }
  tokenize: {
    arguments: {
      readonly tokenizer: Source
      readonly config: Source | null
      readonly text: string
      /** The length that the model wants; null: any. */
      readonly length: number | null
    }
    result: Tokens
  }
  /** Runs a model here. */
  run: {
    arguments: {
      readonly model: Source
      readonly dataFiles: readonly (Source & { readonly name: string })[]
      readonly feeds: WireFeeds
    }
    result: { readonly outputs: WireFeeds; readonly ms: number }
  }
}

export interface TaskRequest<K extends keyof Tasks = keyof Tasks> {
  readonly id: number
  readonly task: K
  readonly arguments: Tasks[K]['arguments']
}

export type TaskResponse =
  | { readonly id: number; readonly result: Tasks[keyof Tasks]['result'] }
  | { readonly id: number; readonly error: string }
