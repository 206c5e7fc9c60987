/** What is missing for CUDA on this machine, and how to get it. */

import { existsSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { messageOf } from '../../util/errors.ts'

/** What the advice depends on; tests describe machines that they do not run on. */
export interface Machine {
  readonly platform: string
  readonly arch: string
  /** Whether a CUDA provider library lies beside the binding; null where onnxruntime-node is not installed. */
  readonly hasProvider: boolean | null
  /** Whether the NVIDIA driver has a device file. */
  readonly hasDriver: boolean
}

/** What the package brings itself, once it was asked to. */
const OWN_LIBRARIES = 'libonnxruntime_providers_'
const PROVIDER_LIBRARY = `${OWN_LIBRARIES}cuda.so`

/** Looks at this machine. */
export function thisMachine(): Machine {
  const path = providerPath()
  return {
    platform: process.platform,
    arch: process.arch,
    hasProvider: path === null ? null : existsSync(path),
    hasDriver: existsSync('/dev/nvidiactl') || existsSync('/dev/dxg'),
  }
}

/**
 * Why CUDA cannot work here, where that is known without trying: ONNX Runtime would say so on stderr, and each `auto` would
 * wait for it. Null where it must be tried.
 */
export function obstacleOn({ platform, arch, hasProvider }: Machine): string | null {
  if (platform !== 'linux' || arch !== 'x64') return `onnxruntime-node has no CUDA for ${platform}-${arch}`
  if (hasProvider === null) return 'onnxruntime-node is not installed'
  return hasProvider ? null : `onnxruntime-node was installed without ${PROVIDER_LIBRARY}`
}

/**
 * What the dynamic linker says of a library that ONNX Runtime could not load: ONNX Runtime itself only says that it could not.
 * Null if it can be loaded.
 */
export function linkerMessage(path: string | null = providerPath()): string | null {
  if (path === null) return null
  try {
    // It is no addon of Node's, which Node says only after it has loaded it.
    process.dlopen({ exports: {} }, path)
    return null
  } catch (error) {
    const message = messageOf(error)
    return message.startsWith('Module did not self-register') ? null : message
  }
}

/** The library that a message of the dynamic linker names: `libcudnn.so.9: cannot open shared object file`. */
const MISSING_LIBRARY = /(lib[\w+.-]+?\.so(?:\.\d+)*): cannot open shared object file/

/** Library -> the package of NVIDIA's that holds it. */
const HOLDERS: readonly (readonly [library: RegExp, holder: string])[] = [
  [/^libcudnn/, 'cuDNN 9 for CUDA 12'],
  [/^libcuda\./, 'the NVIDIA driver'],
  [/^lib(cublas|cudart|cufft|curand|nvrtc|nvJitLink)/i, 'the CUDA 12 toolkit'],
]

/** The step that makes CUDA work, by what the machine has and what the engine said. */
export function cureFor(problem: string, machine: Machine): string {
  const { platform, arch, hasProvider, hasDriver } = machine
  if (platform === 'darwin') return 'macOS has no CUDA; use --engine webgpu, or cpu'
  if (platform === 'win32') {
    return 'onnxruntime-node has CUDA libraries for linux-x64 only; use --engine webgpu, which runs on any GPU, or run under WSL 2'
  }
  if (platform !== 'linux' || arch !== 'x64') {
    return `onnxruntime-node has CUDA libraries for linux-x64 only, this is ${platform}-${arch}; use --engine webgpu, or cpu`
  }
  if (hasProvider === null) return 'run `npm install onnxruntime-node`'
  const library = MISSING_LIBRARY.exec(problem)?.[1]
  if (!hasProvider || library?.startsWith(OWN_LIBRARIES)) {
    const driver = hasDriver ? '' : ', and install the NVIDIA driver: this machine has no /dev/nvidiactl'
    return `run \`npm rebuild onnxruntime-node --onnxruntime-node-install=cuda12\`${driver}; it needs CUDA 12 and cuDNN 9`
  }
  if (library !== undefined) {
    const holder = HOLDERS.find(([pattern]) => pattern.test(library))?.[1] ?? 'CUDA 12'
    const driver = hasDriver ? '' : '; the NVIDIA driver is missing too: there is no /dev/nvidiactl'
    return `install ${holder}, which holds ${library}, and put its folder on LD_LIBRARY_PATH before the process starts${driver}`
  }
  if (!hasDriver)
    return 'install the NVIDIA driver: this machine has no /dev/nvidiactl; `nvidia-smi` should then list a GPU'
  return 'see that `nvidia-smi` lists the GPU; install CUDA 12 and cuDNN 9, and put their folders on LD_LIBRARY_PATH before the process starts'
}

/** Where the provider library lies, once it is there; null where onnxruntime-node is not installed. */
function providerPath(): string | null {
  const { platform, arch } = process
  try {
    const folder = dirname(createRequire(import.meta.url).resolve('onnxruntime-node/package.json'))
    return join(folder, 'bin', 'napi-v6', platform, arch, PROVIDER_LIBRARY)
  } catch {
    return null
  }
}
