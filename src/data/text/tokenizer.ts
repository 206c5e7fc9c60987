/** Tokenizers of Hugging Face (`tokenizer.json`), and how their sequences are cut to a length. */

import { readFile, stat } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { InputError, messageOf } from '../../util/errors.ts'

export interface Encoded {
  readonly ids: readonly number[]
  /** 0 for the first text, 1 for the second. */
  readonly types: readonly number[]
  /** The word that each token belongs to, null for special tokens; only where words were given. */
  readonly words: readonly (number | null)[] | null
}

/** What is used of the library, whose own types do not resolve in Node's way of looking up modules. */
interface Tokenizer {
  encode(
    text: string,
    options?: {
      readonly text_pair?: string | null
      readonly add_special_tokens?: boolean
      readonly return_token_type_ids?: boolean
    },
  ): { readonly ids: number[]; readonly token_type_ids: number[] }
  token_to_id(token: string): number | undefined
}

type TokenizerConstructor = new (json: object, config: object) => Tokenizer

/** A tokenizer with what its configuration says beside the vocabulary. */
export class TextEncoder {
  readonly path: string
  readonly padId: number
  /** What the model was made for; null if unknown. */
  readonly longest: number | null
  readonly #tokenizer: Tokenizer
  /** Byte-level vocabularies know a word inside a sentence by the space before it. */
  readonly #space: string
  /** Whether the second text of a pair is of type 1; of RoBERTa's there is one type, whatever the library says. */
  readonly #typed: boolean

  constructor(path: string, tokenizer: Tokenizer, json: TokenizerJson, config: TokenizerConfig) {
    this.path = path
    this.#tokenizer = tokenizer
    const pad = typeof config.pad_token === 'object' ? config.pad_token?.content : config.pad_token
    this.padId = json.padding?.pad_id ?? (pad ? tokenizer.token_to_id(pad) : undefined) ?? 0
    const { model_max_length: longest } = config
    this.longest = longest !== undefined && longest < 1e6 ? longest : null
    const steps = json.pre_tokenizer?.pretokenizers ?? [json.pre_tokenizer]
    this.#space = steps.some(step => step?.type === 'ByteLevel') ? ' ' : ''
    const after = json.post_processor?.processors ?? [json.post_processor]
    this.#typed = !after.some(step => step?.type === 'RobertaProcessing')
  }

  /** A text, or a pair of texts, of at most `most` tokens: the longer text is cut first, from its end. */
  encode(text: string, pair: string | null, most: number): Encoded {
    const plain = (part: string) => this.#tokenizer.encode(part, { add_special_tokens: false }).ids.length
    const full = this.#tokenizer.encode(text, { text_pair: pair, return_token_type_ids: true })
    const types = this.#typed ? full.token_type_ids : full.ids.map(() => 0)
    const words = null
    if (full.ids.length <= most) return { ids: full.ids, types, words }
    const lengths = [plain(text), pair === null ? 0 : plain(pair)] as const
    const special = full.ids.length - lengths[0] - lengths[1]
    this.#checkLength(most, special)
    const [first, second] = truncated(lengths, most - special)
    const start = this.#before()
    // Tokens go from the end of each text; special tokens around and between them stay.
    const end = full.ids.length - (pair === null ? special - start : this.#after())
    const keep = (at: number) => {
      if (at >= start + first && at < start + lengths[0]) return false
      return pair === null || at < end - lengths[1] + second || at >= end
    }
    return {
      ids: full.ids.filter((_, at) => keep(at)),
      types: types.filter((_, at) => keep(at)),
      words,
    }
  }

  /** Words of a sentence, each tokenised by itself, with special tokens around them. */
  encodeWords(words: readonly string[], most: number): Encoded {
    const [before, after] = [this.#before(), this.#after()]
    const special = this.#tokenizer.encode('').ids
    this.#checkLength(most, special.length)
    const ids: number[] = []
    const owners: number[] = []
    words.forEach((word, w) => {
      const own = this.#tokenizer.encode(this.#space + word, { add_special_tokens: false }).ids
      ids.push(...own)
      owners.push(...own.map(() => w))
    })
    const kept = most - special.length
    const none = (count: number) => new Array<null>(count).fill(null)
    const all = [...special.slice(0, before), ...ids.slice(0, kept), ...special.slice(special.length - after)]
    return {
      ids: all,
      types: all.map(() => 0),
      words: [...none(before), ...owners.slice(0, kept), ...none(after)],
    }
  }

  #checkLength(most: number, special: number): void {
    if (most > special) return
    throw new InputError(
      `tokenizer ${this.path}: ${most} tokens leave no room beside ${special} special ones`,
      {
        cure: 'raise --max-length',
      },
    )
  }

  /** Special tokens before a text. */
  #before(): number {
    const [plain, full] = this.#probe()
    return full.findIndex((id, at) => id === plain[0] && plain.every((other, i) => full[at + i] === other))
  }

  /** Special tokens after the last text. */
  #after(): number {
    const [plain, full] = this.#probe()
    return full.length - this.#before() - plain.length
  }

  #probe(): [plain: readonly number[], full: readonly number[]] {
    const of = (add_special_tokens: boolean) => this.#tokenizer.encode('a', { add_special_tokens }).ids
    return [of(false), of(true)]
  }
}

/** Lengths of two texts that together have `most` tokens: `longest_first` of Hugging Face's tokenizers. */
export function truncated([first, second]: readonly [number, number], most: number): [number, number] {
  if (first + second <= most) return [first, second]
  const [low, high] = first <= second ? [first, second] : [second, first]
  let [shorter, longer] = low > most ? [low, low] : [low, Math.max(low, most - low)]
  if (shorter + longer > most) {
    shorter = Math.floor(most / 2)
    longer = shorter + (most % 2)
  }
  return first <= second ? [shorter, Math.min(longer, high)] : [Math.min(longer, high), shorter]
}

export interface TokenizerJson {
  readonly padding?: { readonly pad_id?: number } | null
  readonly pre_tokenizer?: (Step & { readonly pretokenizers?: readonly Step[] }) | null
  readonly post_processor?: (Step & { readonly processors?: readonly Step[] }) | null
}

interface Step {
  readonly type?: string
}

export interface TokenizerConfig {
  readonly pad_token?: string | { readonly content: string } | null
  readonly model_max_length?: number
}

/** Opens `tokenizer.json`, or the folder of it; `tokenizer_config.json` beside it is read if it is there. */
export async function openTokenizer(path: string): Promise<TextEncoder> {
  const isFolder = await stat(path).then(
    found => found.isDirectory(),
    () => false,
  )
  const file = isFolder ? join(path, 'tokenizer.json') : path
  const json = (await readJson(file)) as TokenizerJson
  const beside = join(dirname(file), 'tokenizer_config.json')
  const config = (await stat(beside).catch(() => null)) ? ((await readJson(beside)) as TokenizerConfig) : {}
  return makeTokenizer(file, json, config)
}

/** A tokenizer from the contents of its files; `path` names it in messages. */
export async function makeTokenizer(
  path: string,
  json: TokenizerJson,
  config: TokenizerConfig,
): Promise<TextEncoder> {
  const library = (await import('@huggingface/tokenizers')) as unknown as { Tokenizer: TokenizerConstructor }
  try {
    return new TextEncoder(path, new library.Tokenizer(json, config), json, config)
  } catch (error) {
    throw new InputError(`tokenizer ${path}: ${messageOf(error)}`, { cause: error })
  }
}

async function readJson(path: string): Promise<object> {
  try {
    const value: unknown = JSON.parse(await readFile(path, 'utf8'))
    if (typeof value === 'object' && value !== null) return value
  } catch (error) {
    throw new InputError(`tokenizer ${path}: ${messageOf(error)}`, { cause: error })
  }
  throw new InputError(`tokenizer ${path}: expected a JSON object`)
}
