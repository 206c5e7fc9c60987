/** Files on web servers and in S3, read by range like local ones. */

export { beside, isUrl, nameOf } from './location.ts'
export { openSource, stampFiles, type FileStamp } from './open-source.ts'
