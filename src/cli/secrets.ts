/** Keys, tokens and certificates of a server, read and checked before anything is loaded. */

import { createPrivateKey, X509Certificate } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { createSecureContext } from 'node:tls'
import { InputError, messageOf, UsageError } from '../util/errors.ts'

/** From an option, a file or a variable of the environment; undefined where there is none. */
export async function readSecret(
  text: string | undefined,
  file: string | undefined,
  variable: string,
  option: string,
): Promise<string | undefined> {
  if (text !== undefined && file !== undefined) {
    throw new UsageError(`${option}, ${option}-file: expected one of them, found both`)
  }
  const found =
    text ?? (file === undefined ? process.env[variable] : String(await readFileOf(`${option}-file`, file)))
  const trimmed = found?.trim()
  if (trimmed === undefined || (trimmed === '' && text === undefined && file === undefined)) return undefined
  // What a header can carry, whatever the client's idea of text is.
  if (trimmed.length < 8 || !/^[!-~]+$/.test(trimmed)) {
    throw new UsageError(`${option}: expected at least 8 characters of ASCII without spaces`)
  }
  return trimmed
}

/** A certificate chain and its key, which fit together. */
export async function readTls(
  certPath: string | undefined,
  keyPath: string | undefined,
): Promise<{ cert: Buffer; key: Buffer } | undefined> {
  if (certPath === undefined && keyPath === undefined) return undefined
  if (certPath === undefined || keyPath === undefined) {
    throw new UsageError('--tls-cert, --tls-key: expected both or none')
  }
  const cert = await readFileOf('--tls-cert', certPath)
  const key = await readFileOf('--tls-key', keyPath)
  check(
    () => createSecureContext({ cert }),
    `--tls-cert ${certPath}: expected a certificate chain in PEM form`,
  )
  check(
    () => createSecureContext({ key }),
    `--tls-key ${keyPath}: expected a private key in PEM form, without a passphrase`,
  )
  // A key of another kind than the certificate's is nothing that a context complains of.
  if (!new X509Certificate(cert).checkPrivateKey(createPrivateKey(key))) {
    throw new InputError(`--tls-key ${keyPath}: expected the key of ${certPath}, found that of another`)
  }
  return { cert, key }
}

function check(use: () => unknown, message: string): void {
  try {
    use()
  } catch (error) {
    throw new InputError(`${message} (${messageOf(error)})`, { cause: error })
  }
}

async function readFileOf(option: string, path: string): Promise<Buffer> {
  try {
    return await readFile(path)
  } catch (error) {
    throw new InputError(`${option} ${path}: ${messageOf(error)}`, { cause: error })
  }
}
