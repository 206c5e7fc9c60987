// Made by `npm run kernels` from ../assembly/kernels.ts.
/** A WebAssembly module, in base64. */
export const KERNELS: string
