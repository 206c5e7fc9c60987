/** One request by hand, for what no client would send. */

import { connect } from 'node:net'

/** One request over a socket, answer and all. */
export async function exchange(
  url: string,
  line: string,
  body: string | Buffer,
  headers: Readonly<Record<string, string>> = {},
): Promise<{ status: number; headers: Record<string, string>; body: Buffer }> {
  const { hostname, port } = new URL(url)
  const socket = connect(Number(port), hostname)
  const bytes = Buffer.from(body)
  const lines = Object.entries({ Host: hostname, Connection: 'close', ...headers }).map(
    e => `${e[0]}: ${e[1]}\r\n`,
  )
  socket.write(`${line} HTTP/1.1\r\nContent-Length: ${bytes.length}\r\n${lines.join('')}\r\n`)
  socket.write(bytes)
  const chunks: Buffer[] = []
  for await (const chunk of socket) chunks.push(chunk as Buffer)
  const all = Buffer.concat(chunks)
  const end = all.indexOf('\r\n\r\n')
  const [first, ...rest] = all.subarray(0, end).toString().split('\r\n')
  const pairs = rest.map(text => [text.split(': ')[0]!.toLowerCase(), text.replace(/^[^:]*: /, '')] as const)
  return {
    status: Number(first!.split(' ')[1]),
    headers: Object.fromEntries(pairs),
    body: all.subarray(end + 4),
  }
}
