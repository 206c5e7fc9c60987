/**
 * Reads pickles as `torch.save` writes them, without executing anything: a table of opcodes, and names of classes and
 * functions that stay names. Source: Lib/pickletools.py of CPython, which describes every opcode; protocols 2 to 5.
 * What is called (REDUCE) or filled (BUILD) is kept as a call for the caller to look at; it decides which it knows.
 */

import { InputError, UnsupportedError } from '../util/errors.ts'

/** A class or function by its name, `torch._utils._rebuild_tensor_v2`. */
export class PickleName {
  readonly name: string

  constructor(name: string) {
    this.name = name
  }
}

/** A call of something by name, and what was put into its result afterwards. */
export class PickleCall {
  readonly name: string
  readonly args: readonly PickleValue[]
  /** Items set on the result, as an OrderedDict's are. */
  readonly items = new Map<PickleValue, PickleValue>()

  constructor(name: string, args: readonly PickleValue[]) {
    this.name = name
    this.args = args
  }
}

/** An object that is stored elsewhere: for torch a tuple that says where. */
export class PickleReference {
  readonly id: PickleValue

  constructor(id: PickleValue) {
    this.id = id
  }
}

/** Tuples and lists are arrays, dicts are Maps, whole numbers beyond 2^53 are bigints. */
export type PickleValue =
  | null
  | boolean
  | number
  | bigint
  | string
  | Uint8Array
  | PickleValue[]
  | Map<PickleValue, PickleValue>
  | PickleName
  | PickleCall
  | PickleReference

/** More values than any state dict has: what is larger is made to fill memory. */
const MOST_VALUES = 5_000_000
const STOP = 0x2e

/** The value of a pickle; `where` names it in errors. */
export function readPickle(bytes: Uint8Array, where: string): PickleValue {
  const machine = new Machine(bytes, where)
  for (;;) {
    const at = machine.at
    const code = machine.byte()
    if (code === STOP) return machine.pop()
    const run = OPCODES.get(code)
    if (!run) {
      const shown = `0x${code.toString(16).padStart(2, '0')}`
      throw new UnsupportedError(
        `${where}: pickle opcode ${shown} at byte ${at} is not one that tensors need`,
        {
          cure: 'save the state dict alone: torch.save(model.state_dict(), path)',
        },
      )
    }
    run(machine)
  }
}

/** A place in the stack. */
const MARK = Symbol('mark')

class Machine {
  at = 0
  readonly #bytes: Uint8Array
  readonly #view: DataView
  readonly #where: string
  readonly #stack: (PickleValue | typeof MARK)[] = []
  readonly #memo = new Map<number, PickleValue>()
  #count = 0

  constructor(bytes: Uint8Array, where: string) {
    this.#bytes = bytes
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
    this.#where = where
  }

  fail(problem: string): InputError {
    return new InputError(`${this.#where}: ${problem} at byte ${this.at} of its pickle`, {
      cure: 'the file is truncated or damaged; write or download it again',
    })
  }

  /** Moves on by `length` bytes; gives the place of the first. */
  #take(length: number): number {
    const at = this.at
    if (length > this.#bytes.length - at) throw this.fail('the data end')
    this.at += length
    return at
  }

  byte(): number {
    return this.#bytes[this.#take(1)]!
  }

  uint16(): number {
    return this.#view.getUint16(this.#take(2), true)
  }

  int32(): number {
    return this.#view.getInt32(this.#take(4), true)
  }

  uint32(): number {
    return this.#view.getUint32(this.#take(4), true)
  }

  /** A length of eight bytes. */
  uint64(): number {
    const length = this.#view.getBigUint64(this.#take(8), true)
    if (length > BigInt(this.#bytes.length)) throw this.fail(`a length of ${length} bytes`)
    return Number(length)
  }

  float64(): number {
    return this.#view.getFloat64(this.#take(8), false)
  }

  bytes(length: number): Uint8Array {
    const at = this.#take(length)
    return this.#bytes.subarray(at, at + length)
  }

  text(length: number): string {
    return Buffer.from(this.bytes(length)).toString('utf8')
  }

  line(): string {
    const end = this.#bytes.indexOf(0x0a, this.at)
    if (end < 0) throw this.fail('a line without an end')
    const text = this.text(end - this.at)
    this.at++
    return text
  }

  /** Two's complement, little endian. */
  integer(length: number): number | bigint {
    if (length > 16) throw this.fail(`a whole number of ${length} bytes`)
    const bytes = this.bytes(length)
    const magnitude = bytes.reduceRight((sum, byte) => (sum << 8n) | BigInt(byte), 0n)
    const value = BigInt.asIntN(8 * length, magnitude)
    return Number.isSafeInteger(Number(value)) ? Number(value) : value
  }

  push(value: PickleValue | typeof MARK): void {
    if (++this.#count > MOST_VALUES) throw this.fail(`more than ${MOST_VALUES} values`)
    this.#stack.push(value)
  }

  pop(): PickleValue {
    const value = this.#stack.pop()
    if (value === undefined || value === MARK) throw this.fail('a value is missing')
    return value
  }

  top(): PickleValue {
    const value = this.pop()
    this.#stack.push(value)
    return value
  }

  /** The values above the last mark, which goes too. */
  popMark(): PickleValue[] {
    const mark = this.#stack.lastIndexOf(MARK)
    if (mark < 0) throw this.fail('a mark is missing')
    const values = this.#stack.splice(mark).slice(1)
    return values as PickleValue[]
  }

  memoize(key = this.#memo.size): void {
    this.#memo.set(key, this.top())
  }

  recall(key: number): void {
    const value = this.#memo.get(key)
    if (value === undefined) throw this.fail(`nothing is remembered as ${key}`)
    this.push(value)
  }

  tuple(count: number): void {
    const values = Array.from({ length: count }, () => this.pop()).reverse()
    this.push(values)
  }

  append(values: readonly PickleValue[]): void {
    const list = this.top()
    if (!Array.isArray(list)) throw this.fail('something is appended to no list')
    for (const value of values) list.push(value)
  }

  set(pairs: readonly PickleValue[]): void {
    const target = this.top()
    const items = target instanceof PickleCall ? target.items : target
    if (!(items instanceof Map) || pairs.length % 2 !== 0) throw this.fail('items are put into no dict')
    for (let i = 0; i < pairs.length; i += 2) items.set(pairs[i]!, pairs[i + 1]!)
  }

  call(): void {
    const [args, callee] = [this.pop(), this.pop()]
    if (!(callee instanceof PickleName) || !Array.isArray(args)) throw this.fail('a call of no function')
    this.push(new PickleCall(callee.name, args))
  }
}

const constant = (value: () => PickleValue) => (machine: Machine) => {
  machine.push(value())
}

/** Opcode -> what it does; those that torch.save and pickle write of dicts, lists, numbers, texts and calls. */
const OPCODES: ReadonlyMap<number, (machine: Machine) => void> = new Map(
  Object.entries({
    '\x80': machine => void machine.byte(), // PROTO
    '\x95': machine => void machine.uint64(), // FRAME
    '(': machine => {
      machine.push(MARK)
    },
    '0': machine => void machine.pop(),
    '1': machine => void machine.popMark(),
    '2': machine => {
      machine.push(machine.top())
    },
    N: constant(() => null),
    '\x88': constant(() => true),
    '\x89': constant(() => false),
    ')': constant(() => []),
    ']': constant(() => []),
    '}': constant(() => new Map()),
    J: machine => {
      machine.push(machine.int32())
    },
    K: machine => {
      machine.push(machine.byte())
    },
    M: machine => {
      machine.push(machine.uint16())
    },
    '\x8a': machine => {
      machine.push(machine.integer(machine.byte()))
    },
    G: machine => {
      machine.push(machine.float64())
    },
    X: machine => {
      machine.push(machine.text(machine.uint32()))
    },
    '\x8c': machine => {
      machine.push(machine.text(machine.byte()))
    },
    '\x8d': machine => {
      machine.push(machine.text(machine.uint64()))
    },
    B: machine => {
      machine.push(machine.bytes(machine.uint32()))
    },
    C: machine => {
      machine.push(machine.bytes(machine.byte()))
    },
    t: machine => {
      machine.push(machine.popMark())
    },
    '\x85': machine => {
      machine.tuple(1)
    },
    '\x86': machine => {
      machine.tuple(2)
    },
    '\x87': machine => {
      machine.tuple(3)
    },
    l: machine => {
      machine.push(machine.popMark())
    },
    a: machine => {
      const value = machine.pop()
      machine.append([value])
    },
    e: machine => {
      const values = machine.popMark()
      machine.append(values)
    },
    s: machine => {
      const [value, key] = [machine.pop(), machine.pop()]
      machine.set([key, value])
    },
    u: machine => {
      const pairs = machine.popMark()
      machine.set(pairs)
    },
    q: machine => {
      machine.memoize(machine.byte())
    },
    r: machine => {
      machine.memoize(machine.uint32())
    },
    '\x94': machine => {
      machine.memoize()
    },
    h: machine => {
      machine.recall(machine.byte())
    },
    j: machine => {
      machine.recall(machine.uint32())
    },
    c: machine => {
      machine.push(new PickleName(`${machine.line()}.${machine.line()}`))
    },
    '\x93': machine => {
      const [name, module] = [machine.pop(), machine.pop()]
      if (typeof name !== 'string' || typeof module !== 'string') throw machine.fail('a name that is no text')
      machine.push(new PickleName(`${module}.${name}`))
    },
    R: machine => {
      machine.call()
    },
    // An object of a class: by its arguments alone (NEWOBJ).
    '\x81': machine => {
      machine.call()
    },
    // A set (EMPTY_SET, ADDITEMS), as a list.
    '\x8f': constant(() => []),
    '\x90': machine => {
      const values = machine.popMark()
      machine.append(values)
    },
    // What an object's attributes become (BUILD) tells nothing about tensors.
    b: machine => void machine.pop(),
    Q: machine => {
      machine.push(new PickleReference(machine.pop()))
    },
  } satisfies Record<string, (machine: Machine) => void>).map(([code, run]) => [code.charCodeAt(0), run]),
)
