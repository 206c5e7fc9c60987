/** The arrays of an .npz file as tensors: what `np.savez` stores is read in place, what it compresses at once. */

import { readNpyHeader } from '../data/npy.ts'
import { openSource } from '../remote/index.ts'
import { locateZipEntry, readZipDirectory, readZipEntry, type ZipEntry } from '../serde/index.ts'
import { byteLengthOf, type DType } from '../tensor/dtype.ts'
import { formatShape, sizeOf } from '../tensor/shape.ts'
import type { ByteSource } from '../tensor/source.ts'
import { Tensor } from '../tensor/tensor.ts'
import { InputError, UnsupportedError } from '../util/errors.ts'

/** NumPy's codes of little-endian elements. */
const DTYPES: Readonly<Record<string, DType>> = {
  '<f2': 'float16',
  '<f4': 'float32',
  '<f8': 'float64',
  '|i1': 'int8',
  '<i2': 'int16',
  '<i4': 'int32',
  '<i8': 'int64',
  '|u1': 'uint8',
  '<u2': 'uint16',
  '<u4': 'uint32',
  '<u8': 'uint64',
  '|b1': 'bool',
}

/** The header of an npy file is at most this long in the versions that hold numbers alone. */
const LONGEST_HEADER = 65536

export interface NpzTensors {
  readonly tensors: ReadonlyMap<string, Tensor>
  close(): Promise<void>
}

/** Opens an .npz file, a path or URL; stored arrays are ranges of it until `close`. */
export async function openNpzTensors(location: string): Promise<NpzTensors> {
  const source = await openSource(location)
  try {
    const tensors = new Map<string, Tensor>()
    for (const entry of await readZipDirectory(source)) {
      if (!entry.name.endsWith('.npy'))
        throw new InputError(`${source.name}: expected only .npy members, found '${entry.name}'`)
      tensors.set(entry.name.slice(0, -'.npy'.length), await tensorOf(source, entry))
    }
    return { tensors, close: () => source.close() }
  } catch (error) {
    await source.close()
    throw error
  }
}

async function tensorOf(source: ByteSource, entry: ZipEntry): Promise<Tensor> {
  const where = `${source.name}[${entry.name}]`
  const unpacked = entry.method === 0 ? null : await readZipEntry(source, entry)
  const range = unpacked ? null : await locateZipEntry(source, entry)
  const head = unpacked ?? (await source.read(range!.offset, Math.min(range!.length, LONGEST_HEADER)))
  const { descr, fortranOrder, dims, dataOffset } = readNpyHeader(head, where)
  const dtype = DTYPES[descr]
  if (dtype === undefined) throw new UnsupportedError(`${where}: elements ${descr} are not averaged`)
  if (fortranOrder && dims.length > 1) {
    throw new UnsupportedError(`${where}: its elements lie column by column`, {
      cure: 'save np.ascontiguousarray of it',
    })
  }
  const length = byteLengthOf(dtype, sizeOf(dims))
  if (dataOffset + length !== entry.size)
    throw new InputError(
      `${where}: ${dtype}${formatShape(dims)} needs ${length} bytes, found ${entry.size - dataOffset}`,
    )
  if (unpacked) return new Tensor(dtype, dims, unpacked.subarray(dataOffset))
  return new Tensor(dtype, dims, { source, offset: range!.offset + dataOffset, length })
}
