/**
 * Paths and URLs of files. A URL may carry secrets (a password, a signature, a token in its query), so that a file is known
 * by a name without them: that name is in messages, plans and metadata, and opens the file, in this process alone.
 */

import { dirname, join } from 'node:path'
import { InputError } from './errors.ts'

/** Two letters or more: `C:` is a drive. */
const SCHEME = /^([a-z][a-z0-9+.-]+):\/\//i

/** Whether a location is a URL of any scheme, not a path. */
export function isUrl(location: string): boolean {
  return SCHEME.test(location)
}

/** The scheme of a URL, in lower case: `https`. */
export function schemeOf(url: string): string {
  return SCHEME.exec(url)?.[1]?.toLowerCase() ?? ''
}

/** Name -> the URL that it stands for. */
const addresses = new Map<string, string>()

/**
 * The name of a file: a path is its own; of a URL what is left without user, query and fragment. Where two URLs differ in
 * nothing else, the later ones have a number behind their host.
 */
export function nameOf(location: string): string {
  if (!isUrl(location) || addresses.has(location)) return location
  const bare = withoutSecrets(location)
  for (let i = 1; ; i++) {
    const name = i === 1 ? bare : bare.replace(/(?<=:\/\/[^/]*)(?=\/|$)/, `(${i})`)
    const known = addresses.get(name)
    if (known === undefined) addresses.set(name, location)
    if (known === undefined || known === location) return name
  }
}

/** The URL that a name stands for, with its secrets: for requests alone. */
export function addressOf(name: string): string {
  return addresses.get(name) ?? name
}

/** Keys of S3 may contain anything, and have no query. What is no valid URL may have its password anywhere. */
function withoutSecrets(url: string): string {
  const isS3 = schemeOf(url) === 's3'
  const bare = isS3 ? url : url.replace(/[?#].*$/s, '')
  return bare.replace(isS3 || URL.canParse(url) ? /(?<=:\/\/)[^/]*@/ : /(?<=:\/\/).*@/s, '')
}

/**
 * The name of the file that lies beside another one or below it. `relative` has no `..` and is not absolute: its letters are
 * names of files and folders, whatever they mean in a URL. A query stays, as it may give access to a whole folder.
 */
export function beside(location: string, relative: string): string {
  if (!isUrl(location)) return join(dirname(location), relative)
  const address = addressOf(location)
  if (schemeOf(address) === 's3') return nameOf(address.slice(0, address.lastIndexOf('/') + 1) + relative)
  const url = parseUrl(location)
  const folder = url.pathname.slice(0, url.pathname.lastIndexOf('/') + 1)
  url.pathname = folder + relative.split('/').map(encodeURIComponent).join('/')
  return nameOf(url.href)
}

/** The address of a file on a web server. */
export function parseUrl(location: string): URL {
  try {
    return new URL(addressOf(location))
  } catch {
    // The message of the parser repeats the URL.
    throw new InputError(`read ${nameOf(location)}: this is no valid URL`, {
      cure: 'check the address; letters such as spaces are written as %20',
    })
  }
}
