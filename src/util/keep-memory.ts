/** Freed memory stays with the process, for the next who asks for some. */

/** Below the largest size that glibc learns from (DEFAULT_MMAP_THRESHOLD_MAX, 32 MiB). */
const LEARNED = 1 << 24

/**
 * glibc gives freed memory at the end of its heap back to the system at once, beyond 128 KiB, and every page of it costs a
 * fault when it is needed again: 77 of them for a request of 600 KB, 0.3 ms. It learns to keep twice as much as the largest
 * block that it had mapped by itself and was freed (mallopt(3), M_MMAP_THRESHOLD). So one is freed here: a message that
 * nobody will read holds it, and closing its channel frees it now, not when garbage is collected. Nothing is ever written
 * to the block, and elsewhere than with glibc nothing happens.
 */
export function keepFreedMemory(): void {
  const { port1, port2 } = new MessageChannel()
  const block = new ArrayBuffer(LEARNED)
  port1.postMessage(block, [block])
  port1.close()
  port2.close()
}
