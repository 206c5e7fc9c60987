/** A recorded list of kernel calls, run again and again. */

import { EnvironmentError, messageOf } from '../../util/errors.ts'
import type { TfInputs, TfModule, TfTensor } from './tf.ts'

/** Registers of a call's inputs: by name, or in order for kernels that take a list. */
export type Registers = Readonly<Record<string, number>> | readonly number[]

export interface KernelCall {
  /** The node that the call belongs to. */
  readonly label: string
  readonly kernel: string
  readonly inputs: Registers
  readonly attributes: Readonly<Record<string, unknown>>
}

export interface Call extends KernelCall {
  readonly outputs: readonly number[]
  /** Registers that nobody reads after this call. */
  readonly frees: number[]
}

export interface PlanParts {
  readonly calls: readonly Call[]
  /** Register -> a tensor that every run reads. */
  readonly constants: ReadonlyMap<number, TfTensor>
  readonly inputs: ReadonlyMap<string, number>
  readonly outputs: ReadonlyMap<string, number>
  readonly registers: number
}

export class Plan {
  readonly #tf: TfModule
  readonly #parts: PlanParts

  constructor(tf: TfModule, parts: PlanParts) {
    this.#tf = tf
    this.#parts = parts
  }

  /** Runs all calls. The inputs stay the caller's; the outputs become his. What lies between is freed, also on failure. */
  run(inputs: ReadonlyMap<string, TfTensor>): Map<string, TfTensor> {
    const { calls, constants, registers } = this.#parts
    const tensors = new Array<TfTensor | undefined>(registers)
    for (const [register, tensor] of constants) tensors[register] = tensor
    for (const [name, register] of this.#parts.inputs) tensors[register] = inputs.get(name)!
    const live = new Set<TfTensor>()
    try {
      for (const call of calls) {
        callKernel(this.#tf, call, tensors).forEach((tensor, i) => {
          tensors[call.outputs[i]!] = tensor
          live.add(tensor)
        })
        for (const register of call.frees) {
          const tensor = tensors[register]!
          tensor.dispose()
          live.delete(tensor)
        }
      }
    } catch (error) {
      for (const tensor of live) tensor.dispose()
      throw error
    }
    return new Map([...this.#parts.outputs].map(([name, register]) => [name, tensors[register]!]))
  }

  close(): void {
    for (const tensor of this.#parts.constants.values()) tensor.dispose()
  }
}

/** Calls a kernel with the tensors of its registers; its failure names the node. */
export function callKernel(
  tf: TfModule,
  call: KernelCall,
  tensors: readonly (TfTensor | undefined)[],
): readonly TfTensor[] {
  const { label, kernel, inputs, attributes } = call
  const given: TfInputs = Array.isArray(inputs)
    ? (inputs as readonly number[]).map(register => tensors[register]!)
    : Object.fromEntries(
        Object.entries(inputs).map(([name, register]: [string, number]) => [name, tensors[register]!]),
      )
  try {
    const found = tf.engine().runKernel(kernel, given, attributes)
    return Array.isArray(found) ? found : [found]
  } catch (error) {
    const shapes = Object.values(given).map((tensor: TfTensor) => `${tensor.dtype}[${tensor.shape.join()}]`)
    throw new EnvironmentError(
      `${label}: tfjs kernel ${kernel} failed on ${shapes.join(', ')}: ${messageOf(error)}`,
      { cause: error },
    )
  }
}
