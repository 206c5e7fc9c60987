/**
 * ONNX Runtime (1.29 and later, Linux) sends telemetry unless told not to when it is loaded. It reads the process's
 * environment: a worker thread's `process.env` is a copy, so this must run in the main thread before a worker starts.
 */
export function disableTelemetry(): void {
  process.env['ORT_DISABLE_TELEMETRY'] = '1'
}
