/** A pause that lets waiting events be handled first. */

/** Resolves in the next turn of the event loop; browsers have no setImmediate, and their timers wait 4 ms. */
export function nextTurn(): Promise<void> {
  if (typeof setImmediate === 'function') return new Promise(resolve => setImmediate(resolve))
  return new Promise(resolve => {
    const { port1, port2 } = new MessageChannel()
    const arrive = () => {
      port1.close()
      resolve()
    }
    port1.addEventListener('message', arrive)
    port1.start()
    port2.postMessage(null)
  })
}
