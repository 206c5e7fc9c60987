/** Who may read a file on a web server: a user and password in its URL, or a token in the environment. */

import { EnvironmentError } from '../util/errors.ts'

export const TOKEN_VARIABLE = 'SWA_ONNX_HTTP_TOKEN'

const CURE = {
  cure: `write ${TOKEN_VARIABLE}="host=token", as in huggingface.co=hf_..., several of them with spaces between`,
}

/**
 * The `Authorization` header for a URL, or null. A user and password in the URL win. A token is bound to a host and goes
 * there alone, encrypted, so that a list of files from somebody else cannot have it sent to their server.
 */
export function authorizationFor(url: URL, tokens = process.env[TOKEN_VARIABLE] ?? ''): string | null {
  if (url.username !== '' || url.password !== '') {
    const pair = `${decode(url.username)}:${decode(url.password)}`
    return `Basic ${Buffer.from(pair).toString('base64')}`
  }
  const token = parseTokens(tokens).get(url.host)
  return token !== undefined && isPrivate(url) ? `Bearer ${token}` : null
}

/** Without its escapes, if they are such. */
function decode(text: string): string {
  try {
    return decodeURIComponent(text)
  } catch {
    return text
  }
}

/** Host -> token. No message repeats any of it. */
function parseTokens(text: string): Map<string, string> {
  const pairs = text.split(/\s+/).filter(pair => pair !== '')
  return new Map(
    pairs.map(pair => {
      const found = /^([^=\s]+)=([\x21-\x7e]+)$/.exec(pair)
      if (!found) throw new EnvironmentError(`${TOKEN_VARIABLE}: expected host=token`, CURE)
      return [found[1]!.toLowerCase(), found[2]!]
    }),
  )
}

/** Nobody on the way can read what is sent. */
function isPrivate({ protocol, hostname }: URL): boolean {
  return protocol === 'https:' || ['localhost', '127.0.0.1', '[::1]'].includes(hostname)
}
