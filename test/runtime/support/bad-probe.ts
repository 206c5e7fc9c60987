/** What a native library may do to the process that tries it; the first argument says what. */

const DEEDS: Readonly<Record<string, () => void>> = {
  crash: () => {
    process.stderr.write('the driver: assertion failed\n')
    process.abort()
  },
  hang: () => setInterval(() => undefined, 1000),
  leave: () => process.exit(3),
  answer: () => {
    process.stdout.write('noise of a native library\n')
    process.stderr.write('more noise\n')
    process.send?.({ name: 'answer', works: true, found: process.argv[3], cure: null, accelerated: true })
    setInterval(() => undefined, 1000)
  },
}

DEEDS[process.argv[2]!]!()
