/** The short form of the soak: load, reloads, sessions that end and hostile requests at one time. */

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { soak } from '../../tools/serve/soak.ts'

test('twenty seconds: no valid request fails, no answer is wrong, every attack is answered', async () => {
  const report = await soak(
    { seconds: 20, load: 0.5, reloadEvery: 3, crashEvery: 4, hostileRate: 5 },
    () => undefined,
  )
  const { failed, wrong, hostileWrong, problems } = report
  assert.equal({ failed, wrong, hostileWrong }, { failed: 0, wrong: 0, hostileWrong: 0 }, problems.join('\n'))
  assert.is(report.answered + report.refused, report.sent)
  assert.ok(report.refused <= report.sent / 10, `${report.refused} of ${report.sent} were refused`)
  assert.ok(report.reloads >= 5 && report.crashes >= 3, `${report.reloads} reloads, ${report.crashes} ends`)
  assert.ok(report.hostile >= 90)
  assert.ok(report.memory.late < report.memory.early + 150, 'memory does not run away')
})

test.run()
