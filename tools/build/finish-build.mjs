/** Second half of `npm run build`: what tsc leaves undone. */

import { chmod, cp } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'

const path = name => fileURLToPath(new URL(`../../${name}`, import.meta.url))

// tsc takes generated code by its .d.ts and copies neither.
for (const folder of ['serde', 'averaging'])
  await cp(path(`src/${folder}/generated`), path(`dist/${folder}/generated`), { recursive: true })
// npm makes bin files executable when it installs a package, but not in a checkout.
await chmod(path('dist/cli/main.js'), 0o755)
