/** The elements of index.html, by id. */

/** The element of an id, of the class that the caller needs. */
export function byId<T extends Element>(id: string, kind: new () => T): T {
  const element = document.getElementById(id)
  if (!(element instanceof kind)) throw new Error(`internal: index.html has no ${kind.name} #${id}`)
  return element
}

/** A new element with text in it. */
export function element<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  text: string,
  properties: Partial<HTMLElementTagNameMap[K]> = {},
): HTMLElementTagNameMap[K] {
  const made = Object.assign(document.createElement(tag), properties)
  made.append(text)
  return made
}
