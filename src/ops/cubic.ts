/** Cubic convolution (R. G. Keys, 1981): the weights of the four neighbours of a point. */

/**
 * For each of the elements ⌊x⌋ − 1 ... ⌊x⌋ + 2 the coefficients of its weight in t = x − ⌊x⌋, that of t⁰ first. `a` is the
 * free parameter of the kernel: (a+2)|d|³ − (a+3)|d|² + 1 up to a distance of 1, a|d|³ − 5a|d|² + 8a|d| − 4a up to 2.
 */
export function cubicPolynomials(a: number): readonly (readonly number[])[] {
  return [
    [0, a, -2 * a, a],
    [1, 0, -(a + 3), a + 2],
    [0, -a, 2 * a + 3, -(a + 2)],
    [0, 0, a, -a],
  ]
}
