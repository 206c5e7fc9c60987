/** Second half of `npm run build`: tsc takes generated code by its .d.ts and copies neither, so this does. */

import { cp } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'

const path = name => fileURLToPath(new URL(`../../${name}/serde/generated`, import.meta.url))
await cp(path('src'), path('dist'), { recursive: true })
