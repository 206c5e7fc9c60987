/** The manifests of Kubernetes and KServe: valid by the schemas, and their parts fit each other. No cluster is asked. */

import { existsSync } from 'node:fs'
import { join } from 'node:path'
import type { IContainer, IPodSpec, IService } from 'kubernetes-models/v1'
import type { IDeployment } from 'kubernetes-models/apps/v1'
import type { IHorizontalPodAutoscaler } from 'kubernetes-models/autoscaling/v2'
import type { IPodDisruptionBudget } from 'kubernetes-models/policy/v1'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { folder, manifest, read, readYaml } from './support/files.ts'
import { only, stagesOf } from './support/dockerfile.ts'
import { checkSchema, misfits } from './support/schemas.ts'
import type { InferenceService, Kustomization, ServingRuntime } from './support/types.ts'

const [deployment, service, budget, autoscaler, ...others] = readYaml('kubernetes/deployment.yaml') as [
  IDeployment,
  IService,
  IPodDisruptionBudget,
  IHorizontalPodAutoscaler,
]
const [gpu, noAutoscaler] = readYaml('kubernetes/cuda.yaml') as [IDeployment, unknown]
const [kustomization] = readYaml('kubernetes/kustomization.yaml') as [Kustomization]
/** As it is with the lines for GPUs and for a registry. */
const uncommented = read('kubernetes/kustomization.yaml').replaceAll(/^# (\w+:|  .*)$/gm, '$1')
const [changed] = readYaml('kubernetes/kustomization.yaml', uncommented) as [Kustomization]
const [runtime] = readYaml('kserve/serving-runtime.yaml') as [ServingRuntime]
const [inference] = readYaml('kserve/inference-service.yaml') as [InferenceService]

const pod = deployment.spec!.template.spec!
const server = pod.containers[0]!
const predictor = runtime.spec.containers[0]!
const USER = Number(only(stagesOf('Dockerfile').at(-1)!, 'USER').split(':')[0])

/** The value of `--name=value` among the arguments. */
function option({ args }: IContainer, name: string): string | undefined {
  return args?.find(arg => arg.startsWith(`--${name}=`))?.slice(name.length + 3)
}

test('every document is valid by its schema', () => {
  assert.equal(others, [])
  for (const document of [deployment, service, budget, autoscaler]) checkSchema(document)
  // A runtime's containers are those of a pod.
  const { containers } = runtime.spec
  checkSchema({ apiVersion: 'v1', kind: 'Pod', ...{ spec: { containers } } })
})

test('every document has the fields of its type and no others', () => {
  assert.equal(
    misfits([
      ['Deployment', deployment],
      ['Service', service],
      ['PodDisruptionBudget', budget],
      ['HorizontalPodAutoscaler', autoscaler],
      ['DeploymentPatch', gpu],
      ['Kustomization', kustomization],
      ['Kustomization', changed],
      ['ServingRuntime', runtime],
      ['InferenceService', inference],
    ]),
    [],
  )
})

test('a misspelt field would be found', () => {
  const { apiVersion, kind } = deployment
  const found = misfits([
    ['DeploymentPatch', { apiVersion, kind, spec: { template: { spec: { hostIpc: true } } } }],
  ])
  assert.is(found.length, 1)
  assert.match(found[0]!, /'"hostIpc"' does not exist/)
  assert.throws(() => checkSchema({ apiVersion, kind, ...{ spec: { selector: {} } } }), /template/)
})

test('names and labels lead from each document to the next', () => {
  const { labels } = deployment.spec!.template.metadata!
  const selectors = [
    deployment.spec!.selector.matchLabels,
    service.spec!.selector,
    budget.spec!.selector!.matchLabels,
    pod.topologySpreadConstraints![0]!.labelSelector!.matchLabels,
  ]
  for (const selector of selectors) {
    assert.equal(selector, { 'app.kubernetes.io/name': 'swa-onnx' })
    for (const [name, value] of Object.entries(selector!)) assert.is(labels![name], value)
  }
  const { apiVersion, kind, metadata } = deployment
  assert.equal(autoscaler.spec!.scaleTargetRef, { apiVersion, kind, name: metadata!.name })
  const port = server.ports!.find(({ name }) => name === service.spec!.ports![0]!.targetPort)!
  assert.is(String(port.containerPort), option(server, 'port'))
  assert.is(String(predictor.ports![0]!.containerPort), option(predictor, 'port'))
  assert.is(runtime.spec.annotations!['prometheus.kserve.io/port'], option(predictor, 'port'))
})

test('the number of replicas is said in one place', () => {
  assert.is(deployment.spec!.replicas, undefined)
  assert.ok(autoscaler.spec!.minReplicas! > budgetOf(budget), 'replicas that an eviction leaves')
  assert.is(gpu.spec!.replicas, 1)
  assert.equal(noAutoscaler, {
    apiVersion: autoscaler.apiVersion,
    kind: autoscaler.kind,
    metadata: { name: autoscaler.metadata!.name },
    $patch: 'delete',
  })
})

function budgetOf({ spec }: IPodDisruptionBudget): number {
  return Number(spec!.maxUnavailable)
}

test('everything that is mounted is there, and what the arguments name is mounted', () => {
  const volumes = pod.volumes!.map(({ name }) => name)
  const mounts = server.volumeMounts!
  assert.equal(mounts.map(({ name }) => name).sort(), volumes.sort())
  const at = (path: string) =>
    mounts.find(({ mountPath }) => path === mountPath || path.startsWith(`${mountPath}/`))
  const models = at(server.args![1]!)
  assert.equal([models?.name, models?.readOnly], ['models', true])
  const keys = at(option(server, 'api-key-file')!)
  assert.equal([keys?.name, keys?.readOnly], ['keys', true])
  assert.is(pod.volumes!.find(({ name }) => name === 'keys')!.secret!.defaultMode, 0o440)
})

for (const [name, container] of [
  ['deployment.yaml', server],
  ['serving-runtime.yaml', predictor],
] as const) {
  test(`${name}: probes ask the addresses of the v2 protocol on the port that is served`, () => {
    const { startupProbe, livenessProbe, readinessProbe } = container
    const paths = [startupProbe, livenessProbe, readinessProbe].map(probe => probe!.httpGet!.path)
    assert.equal(paths, ['/v2/health/live', '/v2/health/live', '/v2/health/ready'])
    for (const probe of [startupProbe, livenessProbe, readinessProbe]) {
      const { port } = probe!.httpGet!
      assert.ok(container.ports!.some(one => one.name === port || one.containerPort === port))
      assert.ok((probe!.timeoutSeconds ?? 1) <= probe!.periodSeconds!)
    }
    assert.is(option(container, 'host'), '0.0.0.0')
  })

  test(`${name}: the restricted Pod Security Standard holds`, () => {
    const { securityContext } = container
    assert.is(securityContext!.allowPrivilegeEscalation, false)
    assert.equal(securityContext!.capabilities, { drop: ['ALL'] })
    assert.is(securityContext!.readOnlyRootFilesystem, true)
    assert.is(securityContext!.privileged ?? false, false)
    const whole: NonNullable<IPodSpec['securityContext']> = { ...pod.securityContext, ...securityContext }
    assert.is(whole.runAsNonRoot, true)
    assert.is(whole.runAsUser, USER)
    assert.is(whole.seccompProfile!.type, 'RuntimeDefault')
  })

  test(`${name}: resources are asked for and limited, and the image is of this version`, () => {
    assert.equal(container.resources!.requests, container.resources!.limits)
    assert.equal(Object.keys(container.resources!.limits!), ['cpu', 'memory'])
    assert.is(container.image, `swa-onnx:${manifest.version}`)
  })
}

test('no volume is of a kind that the restricted Pod Security Standard forbids', () => {
  const kinds = pod.volumes!.flatMap(volume => Object.keys(volume).filter(key => key !== 'name'))
  assert.equal(kinds, ['persistentVolumeClaim', 'secret', 'emptyDir'])
  assert.is(pod.automountServiceAccountToken, false)
  assert.equal([pod.hostNetwork, pod.hostPID, pod.hostIPC], [undefined, undefined, undefined])
})

test('pods are given more time to end than the server takes', () => {
  const needed = (container: IContainer) =>
    Number(option(container, 'drain-delay')) + Number(option(container, 'drain-timeout'))
  assert.ok(pod.terminationGracePeriodSeconds! > needed(server))
  assert.ok((inference.spec.predictor.terminationGracePeriodSeconds ?? 30) > needed(predictor))
})

test('the patch for GPUs changes what is there', () => {
  assert.is(gpu.metadata!.name, deployment.metadata!.name)
  const { containers } = gpu.spec!.template.spec!
  const [container] = containers
  assert.equal([containers.length, container!.name], [1, server.name])
  assert.is(container!.image, `swa-onnx:${manifest.version}-cuda`)
  assert.equal(container!.args, [...server.args!, '--engine=cuda'])
  assert.equal(container!.resources!.limits, { 'nvidia.com/gpu': '1' })
  assert.equal(container!.resources!.requests, container!.resources!.limits)
})

test('the kustomization names files and images that are there, also with its commented lines', () => {
  assert.equal(kustomization.resources, ['deployment.yaml'])
  assert.equal(changed.patches, [{ path: 'cuda.yaml' }])
  for (const file of [...changed.resources, ...changed.patches!.map(({ path }) => path)]) {
    assert.ok(existsSync(join(folder, 'kubernetes', file)), file)
  }
  assert.is(changed.images![0]!.name, server.image!.split(':')[0])
})

test('KServe: the service and its runtime agree on format, protocol and name', () => {
  const { model } = inference.spec.predictor
  assert.is(model!.runtime, runtime.metadata.name)
  assert.equal(runtime.spec.supportedModelFormats, [model!.modelFormat])
  assert.equal(runtime.spec.protocolVersions, [model!.protocolVersion])
  assert.is(predictor.name, 'kserve-container')
  assert.equal(predictor.args!.slice(0, 2), ['serve', '{{.Name}}=/mnt/models'])
})

test.run()
