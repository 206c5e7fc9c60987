/** Bounds on what a file may make us do. */

/** Versions of the default operator set whose meaning the toolkit knows. */
export const OPSET_MIN = 9
export const OPSET_MAX = 23

/** A protobuf message, hence an ONNX file, must stay below 2 GiB: readers hold its length in an int32. */
export const MESSAGE_LIMIT = 2 ** 31 - 1

/** Messages inside messages, as C++ protobuf and protobufjs bound them; one level of sub-graph takes four. */
export const DEPTH_LIMIT = 100

/** Bytes of a file without its weights. The largest graphs known, with a stack trace on each node, have some 50 MB. */
export const OUTLINE_LIMIT = 2 ** 29

/** Messages in a file; a node, an attribute and a dimension are one each. They cost a few hundred bytes of memory. */
export const MESSAGE_COUNT_LIMIT = 2 ** 22

/** Fields in a file, elements of lists included; an unknown field, the dearest, costs some hundred bytes of memory. */
export const FIELD_COUNT_LIMIT = 2 ** 24

/** Elements of a tensor up to this many bytes are read at once; the rest stay in the file until somebody asks. */
export const RESIDENT_LIMIT = 1024
