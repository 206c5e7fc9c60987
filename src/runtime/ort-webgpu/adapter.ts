/** Which graphics adapter WebGPU runs on: ONNX Runtime does not say it, the Vulkan loader does. */

/** What is known of an adapter; a null name: it works, and nobody told which it is. */
export interface Adapter {
  readonly name: string | null
  /** Whether it computes on the CPU: SwiftShader, or Mesa's llvmpipe. */
  readonly software: boolean
}

/** Makes the Vulkan loader (Linux) write what it opens to stderr. */
export const LOADER_TALKS = { VK_LOADER_DEBUG: 'driver' } as const

const SOFTWARE = /swiftshader|llvmpipe|lavapipe|lvp_icd/i

/**
 * The adapter in the words of the loader: `Using "NVIDIA H100" with driver: "libGLX_nvidia.so.0"`. Loaders before 1.3.207
 * do not write the line; then the driver that the environment forces tells at least whether it is a software one.
 */
export function adapterOf(loaderOutput: string, environment: NodeJS.ProcessEnv): Adapter {
  const name = [...loaderOutput.matchAll(/Using "([^"]+)" with driver/g)].at(-1)?.[1] ?? null
  const forced = environment['VK_DRIVER_FILES'] ?? environment['VK_ICD_FILENAMES'] ?? ''
  return { name, software: SOFTWARE.test(name ?? forced) }
}
