/** Small jobs on bytes that read the same in Node and in a browser, which has no Buffer. */

const HEX = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, '0'))

const encoder = new TextEncoder()

/** The parts one after the other, in new memory. */
export function concatBytes(parts: readonly Uint8Array[]): Uint8Array {
  const bytes = new Uint8Array(parts.reduce((sum, part) => sum + part.byteLength, 0))
  let length = 0
  for (const part of parts) {
    bytes.set(part, length)
    length += part.byteLength
  }
  return bytes
}

/** Two lower-case digits a byte. */
export function toHex(bytes: Uint8Array): string {
  let text = ''
  for (const byte of bytes) text += HEX[byte]!
  return text
}

export function utf8(text: string): Uint8Array {
  return encoder.encode(text)
}

export function equalBytes(a: Uint8Array, b: Uint8Array): boolean {
  if (a.byteLength !== b.byteLength) return false
  for (let i = 0; i < a.byteLength; i++) if (a[i] !== b[i]) return false
  return true
}
