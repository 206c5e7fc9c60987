/** Where a person is on the page: rebuilt parts must not lose it. */

/** Replaces what is in `place`; a focus that was there goes to what `selector` finds in it then. */
export function replaceKeepingFocus(
  place: HTMLElement,
  children: readonly (Node | string)[],
  selector: string,
): void {
  const focused = place.contains(document.activeElement)
  place.replaceChildren(...children)
  if (focused) place.querySelector<HTMLElement>(selector)?.focus()
}
