/** What a file says about itself, which may be known only when the rest of it is written. */

export type Metadata = ReadonlyMap<string, string> | LateMetadata

export interface LateMetadata {
  /** The keys, and values as long as the final ones. */
  readonly provisional: ReadonlyMap<string, string>
  /** The entries; called when everything else is written. */
  readonly settle: () => Promise<ReadonlyMap<string, string>>
}

export function lateMetadata(metadata: Metadata): LateMetadata {
  if ('settle' in metadata) return metadata
  return { provisional: metadata, settle: () => Promise.resolve(metadata) }
}
