/** JPEG files without what cameras say of them. */

const START_OF_IMAGE = 0xffd8
const START_OF_SCAN = 0xffda
const APP1 = 0xffe1
/** `Exif` and the first zero behind it. */
const EXIF = [0x45, 0x78, 0x69, 0x66, 0]

/**
 * The image with its EXIF segments made unreadable, so that no decoder turns it by their orientation; anything but a JPEG
 * as it is. Segments: ITU T.81, annex B; their contents: EXIF 2.32, section 4.7.2.
 */
export async function withoutExif(image: Blob): Promise<Blob> {
  const start = new DataView(await image.slice(0, 2).arrayBuffer())
  if (start.byteLength < 2 || start.getUint16(0) !== START_OF_IMAGE) return image
  const bytes = new Uint8Array(await image.arrayBuffer())
  const view = new DataView(bytes.buffer)
  let at = 2
  while (at + 4 <= bytes.length) {
    const marker = view.getUint16(at)
    if (marker < 0xff00 || marker === START_OF_SCAN) break
    const isExif = marker === APP1 && EXIF.every((byte, i) => bytes[at + 4 + i] === byte)
    if (isExif) bytes[at + 4] = 0
    at += 2 + view.getUint16(at + 2)
  }
  return new Blob([bytes], { type: image.type })
}
