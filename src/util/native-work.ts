/** Native code that runs in threads of this process: nothing of JavaScript ends it, and an exit waits for it. */

let running = 0

/** What runs now; where it is 0, the process can exit at once. */
export function nativeWork(): number {
  return running
}

/** Counts a piece of native work until it is settled. */
export async function countNative<T>(work: Promise<T>): Promise<T> {
  running++
  try {
    return await work
  } finally {
    running--
  }
}
