/**
 * The matrices of Winograd's minimal filtering F(4x4, 3x3): 4x4 outputs of a 3x3 convolution from 6x6 inputs by 36
 * multiplications instead of 144 (Lavin, Gray 2015, "Fast Algorithms for Convolutional Neural Networks").
 *
 *     y = Aᵀ [ (G w Gᵀ) ⊙ (Bᵀ x B) ] A
 */

/** Outputs along one side of a tile. */
export const TILE = 4
/** Taps along one side of the kernel. */
export const TAPS = 3
/** Inputs along one side of a tile: also the number of interpolation points, infinity included. */
export const SPAN = TILE + TAPS - 1
/** Products of one tile. */
export const PRODUCTS = SPAN * SPAN

/**
 * The finite points. With 1/2 and -2 in the place of the textbook's 2 and -2 the float32 error of a convolution over 256
 * channels is 2.4e-6 instead of 3.7e-6 (relative; a direct convolution has 2.2e-7).
 */
const POINTS = [0, 1, -1, 0.5, -2]

type Matrix = readonly (readonly number[])[]

/** Toom-Cook: A and G evaluate polynomials at the points, Bᵀ holds the coefficients of the interpolation. */
function toomCook(): { a: Matrix; g: Matrix; bt: Matrix } {
  const others = (i: number) => POINTS.filter((_, j) => j !== i)
  const product = (roots: readonly number[]) =>
    roots.reduce<number[]>((poly, root) => [0, ...poly].map((value, k) => value - root * (poly[k] ?? 0)), [1])
  const powers = (x: number, count: number) => Array.from({ length: count }, (_, k) => x ** k)
  const atInfinity = (count: number) => Array.from({ length: count }, (_, k) => Number(k === count - 1))

  const a = [...POINTS.map(point => powers(point, TILE)), atInfinity(TILE)]
  const g = [
    ...POINTS.map((point, i) => {
      const norm = others(i).reduce((value, other) => value * (point - other), 1)
      return powers(point, TAPS).map(power => power / norm)
    }),
    atInfinity(TAPS),
  ]
  const bt = [...POINTS.map((_, i) => [...product(others(i)), 0]), product(POINTS)]
  // Rows of G and Bᵀ trade a power of two, so that both have about the same length: smaller rounding errors.
  const shift = g.map((row, i) => 2 ** Math.round(Math.log2(Math.hypot(...row) / Math.hypot(...bt[i]!))))
  return {
    a,
    g: g.map((row, i) => row.map(value => value / shift[i]!)),
    bt: bt.map((row, i) => row.map(value => value * shift[i]!)),
  }
}

const { a: A, g: G, bt: BT } = toomCook()

/** The two-dimensional map: row (i, j), column (p, q) holds m[i, p] · m[j, q]. */
function squared(m: Matrix): number[] {
  return m.flatMap(rowI => m.flatMap(rowJ => rowI.flatMap(p => rowJ.map(q => p * q))))
}

/** [36, 6·6]: Bᵀ x B as a convolution with 36 outputs. */
export const INPUT_TRANSFORM = squared(BT)
/** [36, 4·4]: Aᵀ p A as a transposed convolution, and its transpose, A dy Aᵀ, as a convolution. */
export const OUTPUT_TRANSFORM = squared(A)
/** [36, 3·3]: G w Gᵀ. */
export const WEIGHT_TRANSFORM = squared(G)
/** The same for a kernel turned by 180 degrees. */
export const FLIPPED_WEIGHT_TRANSFORM = squared(G.map(row => row.toReversed()))
