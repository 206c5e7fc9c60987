/** What a test file leaves out on this machine: the test command lists it with the reason. */

type TestFunction = (name: string, run: () => void) => void

/** How the line begins that the test command looks for. */
export const NOT_TRIED = 'NOT TRIED: '

/** Registers, in the place of tests that cannot run here, one that says so. */
export function notTried(test: TestFunction, what: string): void {
  // On a line of its own: uvu has printed dots for the tests before.
  test(`${NOT_TRIED}${what}`, () => console.log(`\n${NOT_TRIED}${what}`))
}
