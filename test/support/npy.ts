/** Arrays as numpy writes them, for data sets of tests. */

import { writeFile } from 'node:fs/promises'
import type { Tensor } from '../../src/tensor/tensor.ts'

const DESCRIPTIONS: Readonly<Record<string, string>> = {
  float32: '<f4',
  int32: '<i4',
  int64: '<i8',
  uint8: '|u1',
}

/** Writes a resident tensor as an .npy file of format 1.0. */
export async function writeNpy(path: string, { dtype, dims, data }: Tensor): Promise<void> {
  const shape = dims.map(dim => `${dim},`).join(' ')
  const dict = `{'descr': '${DESCRIPTIONS[dtype]!}', 'fortran_order': False, 'shape': (${shape}), }`
  const header = `${dict.padEnd(117)}\n`
  const head = Buffer.from([0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59, 1, 0, header.length, 0])
  await writeFile(path, Buffer.concat([head, Buffer.from(header), data as Uint8Array]))
}
