/** The types of the documents: Kubernetes' own (npm kubernetes-models), and those of KServe and kustomize made of them. */

import type { IDeployment } from 'kubernetes-models/apps/v1'
import type { IHorizontalPodAutoscaler } from 'kubernetes-models/autoscaling/v2'
import type { IPodDisruptionBudget } from 'kubernetes-models/policy/v1'
import type { IContainer, IPodSpec, IService, IServiceAccount } from 'kubernetes-models/v1'

type Metadata = NonNullable<IServiceAccount['metadata']>

/** What a strategic merge may leave out: everything. */
type Patch<T> = T extends readonly (infer Item)[]
  ? Patch<Item>[]
  : T extends object
    ? { [Key in keyof T]?: Patch<T[Key]> }
    : T

/** serving.kserve.io/v1alpha1. */
export interface ServingRuntime {
  apiVersion: 'serving.kserve.io/v1alpha1'
  kind: 'ServingRuntime'
  metadata: Metadata
  spec: Pick<
    IPodSpec,
    'containers' | 'volumes' | 'nodeSelector' | 'tolerations' | 'affinity' | 'imagePullSecrets'
  > & {
    annotations?: Record<string, string>
    labels?: Record<string, string>
    supportedModelFormats?: { name: string; version?: string; autoSelect?: boolean; priority?: number }[]
    protocolVersions?: ('v1' | 'v2' | 'grpc-v1' | 'grpc-v2')[]
    multiModel?: boolean
    disabled?: boolean
  }
}

/** serving.kserve.io/v1beta1. */
export interface InferenceService {
  apiVersion: 'serving.kserve.io/v1beta1'
  kind: 'InferenceService'
  metadata: Metadata
  spec: {
    predictor: Partial<IPodSpec> & {
      minReplicas?: number
      maxReplicas?: number
      /** Of the container, what the runtime's is changed in. */
      model?: Partial<IContainer> & {
        modelFormat: { name: string; version?: string }
        runtime?: string
        protocolVersion?: 'v1' | 'v2' | 'grpc-v1' | 'grpc-v2'
        storageUri?: string
      }
    }
  }
}

/** kustomize.config.k8s.io/v1beta1. */
export interface Kustomization {
  apiVersion: 'kustomize.config.k8s.io/v1beta1'
  kind: 'Kustomization'
  resources: string[]
  patches?: { path: string }[]
  images?: { name: string; newName?: string; newTag?: string }[]
}

/** All of them, by the names under which tests ask for them. */
export interface Documents {
  Deployment: IDeployment
  DeploymentPatch: Patch<IDeployment>
  HorizontalPodAutoscaler: IHorizontalPodAutoscaler
  InferenceService: InferenceService
  Kustomization: Kustomization
  PodDisruptionBudget: IPodDisruptionBudget
  Service: IService
  ServingRuntime: ServingRuntime
}
