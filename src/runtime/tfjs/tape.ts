/**
 * The list of kernel calls that a graph becomes. It is written by running it: the first run executes each call as it is
 * recorded, so shapes are those that the kernels gave, and what depends on constants alone is computed then and kept.
 */

import type { Shape } from '../../tensor/shape.ts'
import { invariant } from '../../util/errors.ts'
import { callKernel, Plan, type Call, type Registers } from './plan.ts'
import type { TfArray, TfDType, TfModule, TfTensor } from './tf.ts'

/** A tensor on the tape. */
export interface Slot {
  readonly register: number
  readonly shape: Shape
  readonly dtype: TfDType
  /** Depends on no input: the same in every run. */
  readonly constant: boolean
  /** The elements, where they are known on the host. */
  host: ArrayLike<number> | null
}

export type SlotInputs = Readonly<Record<string, Slot>> | readonly Slot[]
export type KernelAttributes = Readonly<Record<string, unknown>>

export class Tape {
  readonly #tf: TfModule
  readonly #tensors: TfTensor[] = []
  readonly #owned = new Set<number>()
  readonly #calls: Call[] = []
  readonly #constants = new Set<number>()
  readonly #inputs = new Map<string, number>()
  #made: Slot[] = []
  /** The node being written, for errors of kernels. */
  label = ''

  constructor(tf: TfModule) {
    this.#tf = tf
  }

  /** A tensor that each run is given; it stays the caller's. */
  input(name: string, tensor: TfTensor): Slot {
    const slot = this.#slot(tensor, false)
    this.#inputs.set(name, slot.register)
    return slot
  }

  /** A tensor that every run reads. */
  constant(values: TfArray, shape: Shape, dtype: TfDType): Slot {
    const slot = this.#slot(this.#tf.tensor(values, [...shape], dtype), true)
    slot.host = values
    this.#owned.add(slot.register)
    this.#constants.add(slot.register)
    return slot
  }

  /** One kernel call. `fresh`: made anew in each run although it depends on no input (zeros that a run takes and frees). */
  call(kernel: string, inputs: SlotInputs, attributes: KernelAttributes = {}, fresh = false): Slot[] {
    const registers: Registers = Array.isArray(inputs)
      ? (inputs as readonly Slot[]).map(slot => slot.register)
      : Object.fromEntries(
          Object.entries(inputs).map(([name, slot]: [string, Slot]) => [name, slot.register]),
        )
    const constant = !fresh && Object.values(inputs).every((slot: Slot) => slot.constant)
    const tensors = callKernel(
      this.#tf,
      { label: this.label, kernel, inputs: registers, attributes },
      this.#tensors,
    )
    const slots = tensors.map(tensor => this.#slot(tensor, constant))
    for (const { register } of slots) {
      this.#owned.add(register)
      if (constant) this.#constants.add(register)
    }
    this.#made.push(...slots)
    const outputs = slots.map(slot => slot.register)
    if (!constant) {
      this.#calls.push({ label: this.label, kernel, inputs: registers, attributes, outputs, frees: [] })
    }
    return slots
  }

  /** The slots made since the last call of this method. */
  takeMade(): Slot[] {
    const made = this.#made
    this.#made = []
    return made
  }

  /** Nobody will read the slot any more: frees its tensor in this first run. Constants stay until the end. */
  release({ register, constant }: Slot): void {
    if (constant || !this.#owned.delete(register)) return
    this.#tensors[register]!.dispose()
  }

  /** The elements of a constant, read from the device where the host has not got them. */
  async elements(slot: Slot): Promise<ArrayLike<number>> {
    invariant(slot.constant, 'the elements of a slot that is not constant')
    slot.host ??= await this.#tensors[slot.register]!.data()
    return slot.host
  }

  /**
   * Ends the recording. Each output is a tensor of its own, also where it is an input, a constant or another output.
   *
   * @returns the plan for further runs, and the outputs of this first one
   */
  finish(outputs: ReadonlyMap<string, Slot>): { plan: Plan; results: Map<string, TfTensor> } {
    const taken = new Set<number>()
    const owned = new Map<string, number>()
    for (const [name, slot] of outputs) {
      const isOwn = !slot.constant && this.#owned.has(slot.register) && !taken.has(slot.register)
      const own = isOwn ? slot : this.call('Identity', { x: slot }, {}, true)[0]!
      taken.add(own.register)
      owned.set(name, own.register)
    }
    const results = new Map([...owned].map(([name, register]) => [name, this.#tensors[register]!]))
    for (const register of taken) this.#owned.delete(register)
    const used = new Set(this.#calls.flatMap(call => Object.values(call.inputs)))
    const constants = new Map<number, TfTensor>()
    for (const register of this.#constants) {
      if (!used.has(register)) continue
      constants.set(register, this.#tensors[register]!)
      this.#owned.delete(register)
    }
    this.abandon()
    freeAtLastUse(this.#calls, new Set([...this.#inputs.values(), ...constants.keys(), ...taken]))
    const plan = new Plan(this.#tf, {
      calls: this.#calls,
      constants,
      inputs: this.#inputs,
      outputs: owned,
      registers: this.#tensors.length,
    })
    return { plan, results }
  }

  /** Frees everything that the recording made. */
  abandon(): void {
    for (const register of this.#owned) this.#tensors[register]!.dispose()
    this.#owned.clear()
  }

  #slot(tensor: TfTensor, constant: boolean): Slot {
    const register = this.#tensors.push(tensor) - 1
    return { register, shape: tensor.shape, dtype: tensor.dtype as TfDType, constant, host: null }
  }
}

/** Says of each call which registers nobody reads after it. */
function freeAtLastUse(calls: readonly Call[], kept: ReadonlySet<number>): void {
  const seen = new Set(kept)
  for (const call of calls.toReversed()) {
    for (const register of [...Object.values(call.inputs), ...call.outputs]) {
      if (seen.has(register)) continue
      seen.add(register)
      call.frees.push(register)
    }
  }
}
