/** ONNX files and safetensors in and out: the only folder that knows protobuf. */

export { deserializeModel, type DeserializeOptions } from './deserialize.ts'
export { OPSET_MAX, OPSET_MIN } from './limits.ts'
export { serializeModel } from './serialize.ts'
export {
  openSafetensors,
  writeSafetensors,
  type Safetensors,
  type SafetensorsContent,
} from './safetensors.ts'
export { externalDataOf, loadModel, type ExternalDataUse } from './load.ts'
export { openModelBytes, type ModelFile } from './model-file.ts'
export { saveModel, type SaveOptions } from './save.ts'
export { patchModel, writePatched } from './patch.ts'
