/** ONNX files and safetensors in and out, PyTorch checkpoints in: the only folder that knows protobuf. */

export { deserializeModel, type DeserializeOptions } from './deserialize.ts'
export type { Journal } from './segment.ts'
export type { LateMetadata, Metadata } from './metadata.ts'
export { OPSET_MAX, OPSET_MIN } from './limits.ts'
export { serializeModel } from './serialize.ts'
export {
  openSafetensors,
  writeSafetensors,
  type Safetensors,
  type SafetensorsContent,
} from './safetensors.ts'
export { externalDataOf, loadModel, loadModelFrom, type ExternalDataUse } from './load.ts'
export { openModelBytes, type ModelFile } from './model-file.ts'
export { saveModel, type SaveOptions } from './save.ts'
export { patchModel, writePatched } from './patch.ts'
export { openTorchFile, type TorchFile } from './torch-file.ts'
export { locateZipEntry, readZipDirectory, readZipEntry, type ZipEntry } from './zip.ts'
export { parseModelConfig, type ConfiguredPort, type ModelConfig } from './model-config.ts'
