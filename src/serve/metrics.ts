/** Prometheus metrics: Triton's names where Triton has one, `swa_onnx_` for the rest. Counters are read when asked for. */

import { Counter, Gauge, Histogram, Registry, collectDefaultMetrics } from 'prom-client'
import type { Statistics } from './execution/statistics.ts'
import { gpuStates, type GpuState } from './gpu.ts'
import type { ServedVersion } from './repository/served-version.ts'

const LABELS = ['model', 'version'] as const

/** Seconds. */
const LATENCIES = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30]
const BATCHES = [1, 2, 4, 8, 16, 32, 64, 128]
/** Of the largest magnitude. */
const DIFFERENCES = [1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 0.1, 1]

type Row = readonly [name: string, help: string, value: (statistics: Statistics) => number]

const COUNTERS: readonly Row[] = [
  ['nv_inference_request_success', 'Requests that were answered', ({ success }) => success.count],
  ['nv_inference_count', 'Samples of all requests that were answered', ({ items }) => items],
  ['nv_inference_exec_count', 'Runs of the model', ({ executions }) => executions],
  ['nv_inference_request_duration_us', 'Time of answered requests, microseconds', s => us(s.success.ms)],
  ['nv_inference_queue_duration_us', 'Time in queues, microseconds', ({ queue }) => us(queue.ms)],
  ['nv_inference_compute_input_duration_us', 'Time of making inputs, microseconds', s => us(s.input.ms)],
  ['nv_inference_compute_infer_duration_us', 'Time of runs, microseconds', ({ infer }) => us(infer.ms)],
  [
    'nv_inference_compute_output_duration_us',
    'Time of taking outputs apart, microseconds',
    s => us(s.output.ms),
  ],
]

const us = (ms: number) => Math.round(ms * 1000)

export class Metrics {
  readonly registry = new Registry()
  readonly #latency: Histogram<'model' | 'version'>
  readonly #batch: Histogram<'model' | 'version'>
  readonly shadowDifference: Histogram<'model' | 'version' | 'shadow' | 'output'>
  readonly shadowRequests: Counter<'model' | 'version' | 'shadow' | 'result'>
  readonly restarts: Counter<'model' | 'version'>
  readonly loads: Counter<'model' | 'result'>

  /**
   * @param versions what is in service, when the metrics are asked for
   * @param engine what runs it: `cpu`, `cuda`, ...
   */
  constructor(versions: () => readonly ServedVersion[], engine: string) {
    const registers = [this.registry]
    this.#memory(engine)
    if (engine === 'cuda') this.#gpus()
    collectDefaultMetrics({ register: this.registry })
    for (const [name, help, value] of COUNTERS) this.#counter(name, help, versions, value)
    this.#failures(versions)
    this.#gauges(versions)
    const histogram = <L extends string>(
      name: string,
      help: string,
      labelNames: readonly L[],
      buckets: number[],
    ) => new Histogram({ name, help, labelNames, buckets, registers })
    this.#latency = histogram(
      'swa_onnx_request_duration_seconds',
      'Time from the first byte of a request to its answer',
      LABELS,
      LATENCIES,
    )
    this.#batch = histogram('swa_onnx_batch_size', 'Samples in a run', LABELS, BATCHES)
    this.shadowDifference = histogram(
      'swa_onnx_shadow_difference',
      "Largest difference of a shadow's output, relative to the largest magnitude of the output; 1e6: infinite",
      [...LABELS, 'shadow', 'output'] as const,
      DIFFERENCES,
    )
    this.shadowRequests = new Counter({
      name: 'swa_onnx_shadow_requests_total',
      help: 'Requests for a shadow: compared, other_class (compared, with another most likely class), failed or dropped',
      labelNames: [...LABELS, 'shadow', 'result'] as const,
      registers,
    })
    this.restarts = new Counter({
      name: 'swa_onnx_session_crashes_total',
      help: 'Sessions that ended and were opened again',
      labelNames: LABELS,
      registers,
    })
    this.loads = new Counter({
      name: 'swa_onnx_model_loads_total',
      help: 'Versions that were loaded (success) or refused (failure)',
      labelNames: ['model', 'result'] as const,
      registers,
    })
  }

  /** Listeners for the histograms of one version. */
  of(model: string, version: string): { request: (seconds: number) => void; batch: (items: number) => void } {
    const latency = this.#latency.labels(model, version)
    const batch = this.#batch.labels(model, version)
    return { request: seconds => latency.observe(seconds), batch: items => batch.observe(items) }
  }

  /** Drops what is kept of a version that is out of service: versions may come every minute. */
  forget(model: string, version: string): void {
    this.#latency.remove(model, version)
    this.#batch.remove(model, version)
    this.restarts.remove(model, version)
  }

  /** `model:version` -> the histogram of its latencies; counts are cumulative, the last bound is infinite (null). */
  async latencies(): Promise<Map<string, { bounds: (number | null)[]; counts: number[] }>> {
    const latencies = new Map<string, { bounds: (number | null)[]; counts: number[] }>()
    for (const { metricName, labels: all, value } of (await this.#latency.get()).values) {
      if (!metricName?.endsWith('_bucket')) continue
      // `le`, the bound of a bucket, is not among the labels that are declared.
      const labels = all as Partial<Record<'model' | 'version' | 'le', string | number>>
      const key = `${labels.model ?? ''}:${labels.version ?? ''}`
      const latency = latencies.get(key) ?? { bounds: [], counts: [] }
      latencies.set(key, latency)
      latency.bounds.push(labels.le === '+Inf' ? null : Number(labels.le))
      latency.counts.push(value)
    }
    return latencies
  }

  #counter(
    name: string,
    help: string,
    versions: () => readonly ServedVersion[],
    value: (statistics: Statistics) => number,
  ): void {
    new Counter({
      name,
      help,
      labelNames: LABELS,
      registers: [this.registry],
      collect() {
        this.reset()
        for (const { name: model, version, statistics } of versions()) {
          this.labels(model, version).inc(value(statistics))
        }
      },
    })
  }

  /** What the runtime and its weights take of the process; a card's memory is told by `nv_gpu_memory_used_bytes`. */
  #memory(engine: string): void {
    new Gauge({
      name: 'swa_onnx_engine_memory_bytes',
      help: 'Memory of the process outside the heaps of JavaScript and its buffers: weights and arenas of the engine',
      labelNames: ['engine'],
      registers: [this.registry],
      collect() {
        const { rss, heapTotal, external } = process.memoryUsage()
        this.set({ engine }, Math.max(0, rss - heapTotal - external))
      },
    })
  }

  #gpus(): void {
    const gauge = (name: string, help: string, value: (state: GpuState) => number) =>
      new Gauge({
        name,
        help,
        labelNames: ['gpu'],
        registers: [this.registry],
        async collect() {
          for (const state of await gpuStates()) this.set({ gpu: state.index }, value(state))
        },
      })
    gauge('nv_gpu_memory_used_bytes', 'Memory of the card in use, by all processes', ({ used }) => used)
    gauge('nv_gpu_memory_total_bytes', 'Memory of the card', ({ total }) => total)
    gauge('nv_gpu_utilization', 'Share of the time in which the card computed', state => state.utilization)
  }

  /** Whether the device computes what a version is asked for. */
  device(versions: () => readonly ServedVersion[], healthy: (version: ServedVersion) => boolean): void {
    this.#gauge(
      'swa_onnx_device_healthy',
      'Whether the device computes (1) or fails (0)',
      versions,
      version => (healthy(version) ? 1 : 0),
    )
  }

  #gauge(
    name: string,
    help: string,
    versions: () => readonly ServedVersion[],
    value: (version: ServedVersion) => number,
  ): void {
    new Gauge({
      name,
      help,
      labelNames: LABELS,
      registers: [this.registry],
      collect() {
        this.reset()
        for (const version of versions()) this.labels(version.name, version.version).set(value(version))
      },
    })
  }

  #failures(versions: () => readonly ServedVersion[]): void {
    new Counter({
      name: 'nv_inference_request_failure',
      help: 'Requests that were not answered with results, by reason',
      labelNames: [...LABELS, 'reason'] as const,
      registers: [this.registry],
      collect() {
        this.reset()
        for (const { name: model, version, statistics } of versions()) {
          for (const [reason, count] of Object.entries(statistics.failures)) {
            this.labels(model, version, reason).inc(count)
          }
        }
      },
    })
  }

  #gauges(versions: () => readonly ServedVersion[]): void {
    const gauge = (name: string, help: string, value: (version: ServedVersion) => number) =>
      this.#gauge(name, help, versions, value)
    gauge('nv_inference_pending_request_count', 'Requests that wait for a session', v => v.scheduler.waiting)
    gauge('swa_onnx_running_requests', 'Requests that wait or run', v => v.scheduler.pending)
    gauge('swa_onnx_sessions', 'Sessions that can run requests', v => v.instances.filter(i => i.ready).length)
    gauge('swa_onnx_model_file_bytes', 'Bytes of the model file', v => v.facts.memory.file)
    gauge(
      'swa_onnx_model_load_bytes',
      'Bytes by which the memory of the process grew when the version was loaded',
      v => v.facts.memory.process,
    )
  }
}
