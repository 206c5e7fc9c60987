/** Workers of our pages. */

/**
 * Starts the module at `url` in a worker. From a blob, a worker inherits the page's policy: it too can reach this address
 * only, whatever headers the server sends with the worker's file.
 */
export function startWorker(url: URL, name: string): Worker {
  const script = `import ${JSON.stringify(url.href)}`
  const blob = URL.createObjectURL(new Blob([script], { type: 'text/javascript' }))
  return new Worker(blob, { type: 'module', name })
}
