/** What the families of metrics share: the rows they are fed and the numbers they give. */

/** Metrics by name; score.ts has the titles. */
export type Figures = Readonly<Record<string, number>>

/** One decision among classes: a sample, a pixel or a token. The object is used again for the next one. */
export interface ClassRow {
  label: number
  /** The class of the highest output, the first on ties; -1 where an output is NaN. */
  predicted: number
  /** How many classes are ranked above the label; ties are ranked by index, NaN above everything. */
  above: number
  /** log of the probability of the label. */
  logProbability: number
  /** Probability of the predicted class. */
  confidence: number
  /** Probabilities of all classes; filled only for families that want them. */
  readonly probabilities: Float64Array
}

/** Accumulates decisions among classes. */
export interface ClassFamily {
  readonly wantsProbabilities?: boolean
  add(row: ClassRow): void
  /** The rows of one sample are complete. */
  endSample?(): void
  figures(): Figures
}

/** One yes-no decision: `column` is the class it is about. */
export interface BinaryRow {
  column: number
  /** A probability; yes above 0.5. */
  target: number
  /** The model's output as it is: larger means more likely. */
  output: number
  /** Of yes. */
  probability: number
  /** Whether the model says yes. */
  yes: boolean
  /** −t · log p − (1 − t) · log(1 − p). */
  loss: number
}

/** Accumulates yes-no decisions. */
export interface BinaryFamily {
  add(row: BinaryRow): void
  figures(): Figures
}

/** The mean of the numbers that there are; NaN of none. */
export function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length
}

/** Without the entries that could not be computed. */
export function known(figures: Figures): Figures {
  return Object.fromEntries(Object.entries(figures).filter(([, value]) => !Number.isNaN(value)))
}
