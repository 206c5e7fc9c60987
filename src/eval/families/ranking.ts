/** How often the right class is ranked highest, and how surprised the model is by it. */

import type { ClassFamily, ClassRow, Figures } from './family.ts'

/** Top-5 of five classes says nothing. */
const TOP = 5

/** Sums of a ranking. */
class Ranking {
  rows = 0
  loss = 0
  top1 = 0
  top5 = 0

  add({ above, logProbability }: ClassRow): void {
    this.rows++
    this.loss -= logProbability
    this.top1 += Number(above === 0)
    this.top5 += Number(above < TOP)
  }
}

/** One class a sample: log loss (mean of −log p of the label), top-1, and top-5 where there are more than five classes. */
export function samples(classes: number): ClassFamily {
  const sums = new Ranking()
  const figures = (): Figures => {
    const { rows, loss, top1, top5 } = sums
    return { loss: loss / rows, top1: top1 / rows, ...(classes > TOP ? { top5: top5 / rows } : {}) }
  }
  return { add: row => sums.add(row), figures }
}

/** One class an element: log loss, and the share of elements that are right (pixel or token accuracy). */
export function elements(): ClassFamily {
  const sums = new Ranking()
  const figures = (): Figures => ({ loss: sums.loss / sums.rows, accuracy: sums.top1 / sums.rows })
  return { add: row => sums.add(row), figures }
}

/** As of elements, and perplexity: exp of the mean log loss of a token. */
export function tokensOfText(): ClassFamily {
  const inner = elements()
  const figures = (): Figures => {
    const found = inner.figures()
    return { ...found, perplexity: Math.exp(found['loss']!) }
  }
  return { add: row => inner.add(row), figures }
}
