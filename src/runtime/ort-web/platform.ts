/** What the engine asks of the browser: threads and GPU adapters. The few types it needs, so that Node's code sees no DOM. */

/** The part of GPUAdapter that is looked at. */
export interface GpuAdapter {
  readonly info?: { readonly vendor?: string; readonly architecture?: string; readonly description?: string }
  readonly isFallbackAdapter?: boolean
}

interface BrowserGlobals {
  readonly crossOriginIsolated?: boolean
  readonly isSecureContext?: boolean
  readonly navigator?: {
    readonly hardwareConcurrency?: number
    readonly gpu?: { requestAdapter(options?: object): Promise<GpuAdapter | null> }
  }
}

const browser = globalThis as BrowserGlobals

/** ONNX Runtime's pool grows no faster beyond this, and each thread costs memory. */
const MOST_THREADS = 16

/** Whether WebAssembly may have threads here: they share memory, which browsers give to isolated pages only. */
export function isIsolated(): boolean {
  return browser.crossOriginIsolated === true
}

/** Threads of WebAssembly: all processors, or one where the page is not isolated. */
export function threadCount(): number {
  return isIsolated() ? Math.min(MOST_THREADS, browser.navigator?.hardwareConcurrency ?? 1) : 1
}

/** The adapter that WebGPU would use, or why there is none. */
export async function findAdapter(): Promise<GpuAdapter | string> {
  const gpu = browser.navigator?.gpu
  if (!gpu) {
    return browser.isSecureContext === false
      ? 'the page was loaded over plain http'
      : 'this browser has no WebGPU'
  }
  try {
    return (await gpu.requestAdapter()) ?? 'the browser has WebGPU but finds no usable GPU'
  } catch (error) {
    return `the browser refuses a GPU: ${String(error)}`
  }
}

/** `nvidia ampere`. */
export function describeAdapter({ info }: GpuAdapter): string {
  const words = [info?.vendor, info?.architecture, info?.description].filter(word => word)
  return words.length > 0 ? words.join(' ') : 'a GPU that does not say its name'
}

/** Whether an adapter is a program: works everywhere, slower than WebAssembly. */
export function isSoftware({ info, isFallbackAdapter }: GpuAdapter): boolean {
  return (
    isFallbackAdapter === true || /swiftshader|llvmpipe|basic render/i.test(JSON.stringify(describe(info)))
  )
}

function describe(info: GpuAdapter['info']): readonly (string | undefined)[] {
  return [info?.vendor, info?.architecture, info?.description]
}
