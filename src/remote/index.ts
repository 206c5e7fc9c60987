/** Files on web servers and in S3, read by range like local ones. */

export { openSource, stampFiles, type FileStamp } from './open-source.ts'
