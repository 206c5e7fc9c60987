/** What the executor uses of a tfjs module, stated here so that no tfjs package is needed to read or type-check this code. */

import type { DType } from '../../tensor/dtype.ts'

/** The element types of tfjs that the executor works in. */
export type TfDType = 'float32' | 'int32' | 'bool'

export type TfArray = Float32Array | Int32Array | Uint8Array

export interface TfTensor {
  readonly shape: readonly number[]
  readonly dtype: string
  /** On the plain JavaScript backend this is the tensor's own memory, not a copy. */
  data(): Promise<ArrayLike<number>>
  dispose(): void
}

export type TfInputs = Readonly<Record<string, TfTensor>> | readonly TfTensor[]

/** `@tensorflow/tfjs-core` with a backend registered, or a package that re-exports it. */
export interface TfModule {
  engine(): {
    runKernel(
      name: string,
      inputs: TfInputs,
      attributes: Readonly<Record<string, unknown>>,
    ): TfTensor | TfTensor[]
  }
  tensor(values: TfArray, shape: number[], dtype: TfDType): TfTensor
  memory(): { readonly numTensors: number; readonly numBytes: number }
  getBackend(): string
  getKernelsForBackend(backend: string): readonly { readonly kernelName: string }[]
  ready(): Promise<void>
  readonly version_core: string
}

/** What an engine must know of the backend that a tfjs module runs on. */
export interface Backend {
  /** `cpu`, `tensorflow`, `webgl`, `webgpu`. */
  readonly name: string
  readonly version: string
  readonly kernels: ReadonlySet<string>
}

/** Waits until the module's backend is ready and describes it. */
export async function backendOf(tf: TfModule): Promise<Backend> {
  await tf.ready()
  const name = tf.getBackend()
  const kernels = new Set(tf.getKernelsForBackend(name).map(({ kernelName }) => kernelName))
  return { name, version: tf.version_core, kernels }
}

/** ONNX element type -> the type in which tfjs computes it; other types have none. */
export const TF_DTYPES: Partial<Readonly<Record<DType, TfDType>>> = {
  float32: 'float32',
  int64: 'int32',
  int32: 'int32',
  int16: 'int32',
  int8: 'int32',
  uint16: 'int32',
  uint8: 'int32',
  bool: 'bool',
}
