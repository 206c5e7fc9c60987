// AssemblyScript, compiled by `npm run kernels` into ../generated: the inner loops of averaging, on vectors.
//
// Sums: the same elements of several members, `stride` bytes apart, are added up in registers and then to high[i].
// Members' weights are whole numbers, so that products are exact. The sum of a group is exact too if the largest and the
// smallest of its numbers are not too far apart: with W the weights together and p the bits of an element, all summands
// are multiples of u = 2^(e - p + 1), e the exponent of the smallest, and no partial sum exceeds 2^(E + 1) W, which
// float64 holds exactly up to 2^53 u: E - e <= 53 - p - log2 W (`limit`). high[i] + group is exact if and only if
// s - a == g and s - g == a for the rounded sum s (Dekker). The indices of all other elements, NaN and infinities among
// them, go to `spills`, and their sums stay. Returns how many those are.
//
// Pointers are bytes; elements are read and written up to 16 bytes behind their end.

// @ts-ignore: decorator
@inline
function high2(f: v128): v128 {
  return f64x2.promote_low_f32x4(i8x16.shuffle(f, f, 8, 9, 10, 11, 12, 13, 14, 15, 8, 9, 10, 11, 12, 13, 14, 15))
}

// @ts-ignore: decorator
@inline
function add2(at: usize, g: v128): i32 {
  const a = v128.load(at)
  const s = f64x2.add(a, g)
  const exact = v128.and(f64x2.eq(f64x2.sub(s, a), g), f64x2.eq(f64x2.sub(s, g), a))
  v128.store(at, v128.bitselect(s, a, exact))
  return i64x2.bitmask(exact)
}

// The elements of a group that were not exact; those behind the end are none.
function spill(exact: i32, width: i32, i: i32, count: i32, spills: usize, spilled: i32): i32 {
  for (let k = 0; k < width && i + k < count; k++) {
    if ((exact >> k) & 1) continue
    store<i32>(spills + ((<usize>spilled) << 2), i + k)
    spilled++
  }
  return spilled
}

// @ts-ignore: decorator
@inline
function sum32(
  weighted: bool, high: usize, x: usize, stride: usize, members: i32, count: i32, weights: usize, limit: i32, spills: usize,
): i32 {
  const magnitudes = i32x4.splat(0x7fffffff)
  const largest = i32x4.splat(0x7f7fffff)
  const one = i32x4.splat(1)
  const far = i32x4.splat(limit)
  const end = x + stride * <usize>members
  const bytes = (<usize>count) << 2
  let spilled = 0
  for (let at: usize = 0; at < bytes; at += 16) {
    let g0 = f64x2.splat(-0.0)
    let g1 = f64x2.splat(-0.0)
    let max = i32x4.splat(0)
    let min = i32x4.splat(-1)
    let weight = weights
    for (let p = x + at; p < end; p += stride) {
      const f = v128.load(p)
      const magnitude = v128.and(f, magnitudes)
      max = i32x4.max_u(max, magnitude)
      min = i32x4.min_u(min, i32x4.sub(magnitude, one)) // zeros are no smallest
      let f0 = f64x2.promote_low_f32x4(f)
      let f1 = high2(f)
      if (weighted) {
        const w = v128.load64_splat(weight)
        weight += 8
        f0 = f64x2.mul(f0, w)
        f1 = f64x2.mul(f1, w)
      }
      g0 = f64x2.add(g0, f0)
      g1 = f64x2.add(g1, f1)
    }
    const span = i32x4.sub(i32x4.shr_u(max, 23), i32x4.shr_u(i32x4.add(min, one), 23))
    const wrong = v128.or(i32x4.gt_s(span, far), i32x4.gt_s(max, largest))
    if (v128.any_true(wrong)) {
      // NaN is never exact, so that it is not added.
      const nan = f64x2.splat(NaN)
      g0 = v128.bitselect(nan, g0, i64x2.extend_low_i32x4_s(wrong))
      g1 = v128.bitselect(nan, g1, i64x2.extend_high_i32x4_s(wrong))
    }
    const sum = high + (at << 1)
    const exact = add2(sum, g0) | (add2(sum + 16, g1) << 2)
    if (exact != 15) spilled = spill(exact, 4, <i32>(at >> 2), count, spills, spilled)
  }
  return spilled
}

// Eight elements of a 16-bit format. `half`: a float16 thirteen bits up is a float32 whose exponent is 112 too small, which
// is made up for in the sum. Else the upper half of a float32.
// @ts-ignore: decorator
@inline
function sum16(
  half: bool, weighted: bool, high: usize, x: usize, stride: usize, members: i32, count: i32, weights: usize, limit: i32, spills: usize,
): i32 {
  const magnitudes = i16x8.splat(0x7fff)
  const largest = i16x8.splat(half ? 0x7bff : 0x7f7f)
  const one = i16x8.splat(1)
  const far = i16x8.splat(<i16>limit)
  const kept = i32x4.splat(0x8fffe000)
  const scale = f64x2.splat(reinterpret<f64>(0x46f0000000000000)) // 2^112
  const end = x + stride * <usize>members
  const bytes = (<usize>count) << 1
  let spilled = 0
  for (let at: usize = 0; at < bytes; at += 16) {
    let g0 = f64x2.splat(-0.0)
    let g1 = g0
    let g2 = g0
    let g3 = g0
    let max = i16x8.splat(0)
    let min = i16x8.splat(-1)
    let weight = weights
    for (let p = x + at; p < end; p += stride) {
      const h = v128.load(p)
      const magnitude = v128.and(h, magnitudes)
      max = i16x8.max_u(max, magnitude)
      min = i16x8.min_u(min, i16x8.sub(magnitude, one))
      const a = half
        ? v128.and(i32x4.shl(i32x4.extend_low_i16x8_s(h), 13), kept)
        : i32x4.shl(i32x4.extend_low_i16x8_u(h), 16)
      const b = half
        ? v128.and(i32x4.shl(i32x4.extend_high_i16x8_s(h), 13), kept)
        : i32x4.shl(i32x4.extend_high_i16x8_u(h), 16)
      let f0 = f64x2.promote_low_f32x4(a)
      let f1 = high2(a)
      let f2 = f64x2.promote_low_f32x4(b)
      let f3 = high2(b)
      if (weighted) {
        const w = v128.load64_splat(weight)
        weight += 8
        f0 = f64x2.mul(f0, w)
        f1 = f64x2.mul(f1, w)
        f2 = f64x2.mul(f2, w)
        f3 = f64x2.mul(f3, w)
      }
      g0 = f64x2.add(g0, f0)
      g1 = f64x2.add(g1, f1)
      g2 = f64x2.add(g2, f2)
      g3 = f64x2.add(g3, f3)
    }
    if (half) {
      g0 = f64x2.mul(g0, scale)
      g1 = f64x2.mul(g1, scale)
      g2 = f64x2.mul(g2, scale)
      g3 = f64x2.mul(g3, scale)
    }
    const places = half ? 10 : 7
    const span = i16x8.sub(i16x8.shr_u(max, places), i16x8.shr_u(i16x8.add(min, one), places))
    const wrong = v128.or(i16x8.gt_s(span, far), i16x8.gt_s(max, largest))
    if (v128.any_true(wrong)) {
      const nan = f64x2.splat(NaN)
      const low = i32x4.extend_low_i16x8_s(wrong)
      const upper = i32x4.extend_high_i16x8_s(wrong)
      g0 = v128.bitselect(nan, g0, i64x2.extend_low_i32x4_s(low))
      g1 = v128.bitselect(nan, g1, i64x2.extend_high_i32x4_s(low))
      g2 = v128.bitselect(nan, g2, i64x2.extend_low_i32x4_s(upper))
      g3 = v128.bitselect(nan, g3, i64x2.extend_high_i32x4_s(upper))
    }
    const sum = high + (at << 2)
    const exact =
      add2(sum, g0) | (add2(sum + 16, g1) << 2) | (add2(sum + 32, g2) << 4) | (add2(sum + 48, g3) << 6)
    if (exact != 255) spilled = spill(exact, 8, <i32>(at >> 1), count, spills, spilled)
  }
  return spilled
}

// `weights` 0: all are 1.
export function sumFloat32(
  high: usize, x: usize, stride: usize, members: i32, count: i32, weights: usize, limit: i32, spills: usize,
): i32 {
  return weights
    ? sum32(true, high, x, stride, members, count, weights, limit, spills)
    : sum32(false, high, x, stride, members, count, weights, limit, spills)
}

export function sumFloat16(
  high: usize, x: usize, stride: usize, members: i32, count: i32, weights: usize, limit: i32, spills: usize,
): i32 {
  return weights
    ? sum16(true, true, high, x, stride, members, count, weights, limit, spills)
    : sum16(true, false, high, x, stride, members, count, weights, limit, spills)
}

export function sumBfloat16(
  high: usize, x: usize, stride: usize, members: i32, count: i32, weights: usize, limit: i32, spills: usize,
): i32 {
  return weights
    ? sum16(false, true, high, x, stride, members, count, weights, limit, spills)
    : sum16(false, false, high, x, stride, members, count, weights, limit, spills)
}

// A pair of vectors plus a vector, by Knuth's two-sum; gives the elements for which that is exact.
// @ts-ignore: decorator
@inline
function addPair2(high: usize, low: usize, v: v128, allowed: v128): i32 {
  const a = v128.load(high)
  const s = f64x2.add(a, v)
  const b = f64x2.sub(s, a)
  const error = f64x2.add(f64x2.sub(a, f64x2.sub(s, b)), f64x2.sub(v, b))
  const c = v128.load(low)
  const t = f64x2.add(c, error)
  const held = v128.and(f64x2.eq(f64x2.sub(t, c), error), f64x2.eq(f64x2.sub(t, error), c))
  const exact = v128.and(held, allowed)
  v128.store(high, v128.bitselect(s, a, exact))
  v128.store(low, v128.bitselect(t, c, exact))
  return i64x2.bitmask(exact)
}

// high[i] + low[i] += weight * x[i]: for weights of so many digits that one float64 holds few of the sums.
export function addFloat32(high: usize, low: usize, x: usize, count: i32, weight: f64, spills: usize): i32 {
  const w = f64x2.splat(weight)
  const always = i64x2.splat(-1)
  const bytes = (<usize>count) << 2
  let spilled = 0
  for (let at: usize = 0; at < bytes; at += 16) {
    const f = v128.load(x + at)
    const h = high + (at << 1)
    const l = low + (at << 1)
    const exact =
      addPair2(h, l, f64x2.mul(f64x2.promote_low_f32x4(f), w), always) |
      (addPair2(h + 16, l + 16, f64x2.mul(high2(f), w), always) << 2)
    if (exact != 15) spilled = spill(exact, 4, <i32>(at >> 2), count, spills, spilled)
  }
  return spilled
}

// high[i] + low[i] += x[i]; what the pair cannot hold, and elements of 2^990 and above, are spilled.
export function addFloat64(high: usize, low: usize, x: usize, count: i32, spills: usize): i32 {
  const bytes = (<usize>count) << 3
  const bound = f64x2.splat(reinterpret<f64>(0x7dd0000000000000)) // 2^990
  let spilled = 0
  for (let at: usize = 0; at < bytes; at += 16) {
    const v = v128.load(x + at)
    const mask = addPair2(high + at, low + at, v, f64x2.lt(f64x2.abs(v), bound))
    if (mask != 3) spilled = spill(mask, 2, <i32>(at >> 3), count, spills, spilled)
  }
  return spilled
}

// Means of sums that are one float64 each: rounding the rounded quotient is rounding the mean (rounding.ts).
export function meanFloat32(high: usize, total: f64, out: usize, count: i32): void {
  const t = f64x2.splat(total)
  const bytes = (<usize>count) << 2
  for (let at: usize = 0; at < bytes; at += 16) {
    const q0 = f32x4.demote_f64x2_zero(f64x2.div(v128.load(high + (at << 1)), t))
    const q1 = f32x4.demote_f64x2_zero(f64x2.div(v128.load(high + (at << 1), 16), t))
    v128.store(out + at, i8x16.shuffle(q0, q1, 0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23))
  }
}

// high / total as float32 numbers of `precision` bits, spaced 2^minimum at least: adding and subtracting 1.5 * 2^52
// spacings rounds to a multiple of the spacing, ties to even.
// @ts-ignore: decorator
@inline
function rounded2(at: usize, t: v128, shift: v128, least: v128): v128 {
  const q = f64x2.div(v128.load(at), t)
  const sign = v128.and(q, i64x2.splat(0x8000000000000000))
  const exponent = v128.and(q, i64x2.splat(0x7ff0000000000000))
  const spacing = i64x2.add(exponent, shift)
  // 1.5 * 2^(52 + ...): the larger of both exponents, as positive float64 numbers compare.
  const shifter = v128.or(f64x2.max(spacing, least), i64x2.splat(0x0008000000000000))
  const rounded = f64x2.sub(f64x2.add(v128.xor(q, sign), shifter), shifter)
  return f32x4.demote_f64x2_zero(v128.or(rounded, sign))
}

// @ts-ignore: decorator
@inline
function rounded4(at: usize, t: v128, shift: v128, least: v128): v128 {
  const q0 = rounded2(at, t, shift, least)
  const q1 = rounded2(at + 16, t, shift, least)
  return i8x16.shuffle(q0, q1, 0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23)
}

// @ts-ignore: decorator
@inline
function float16Bits(f: v128): v128 {
  const magnitude = v128.and(f, i32x4.splat(0x7fffffff))
  const sign = v128.and(i32x4.shr_u(f, 16), i32x4.splat(0x8000))
  // Below 2^-14 a float16 is a whole number of 2^-24; above, the exponent's bias changes from 127 to 15.
  const units = i32x4.trunc_sat_f32x4_s(f32x4.mul(magnitude, f32x4.splat(16777216.0)))
  const normal = i32x4.min_u(i32x4.shr_u(i32x4.sub(magnitude, i32x4.splat(0x38000000)), 13), i32x4.splat(0x7c00))
  const small = i32x4.lt_s(magnitude, i32x4.splat(0x38800000))
  return v128.or(v128.bitselect(units, normal, small), sign)
}

export function meanFloat16(high: usize, total: f64, out: usize, count: i32): void {
  const t = f64x2.splat(total)
  const shift = i64x2.splat(<i64>(52 - 10) << 52)
  const least = i64x2.splat(<i64>(1023 + 52 - 24) << 52)
  const bytes = (<usize>count) << 1
  for (let at: usize = 0; at < bytes; at += 16) {
    const a = float16Bits(rounded4(high + (at << 2), t, shift, least))
    const b = float16Bits(rounded4(high + (at << 2) + 32, t, shift, least))
    v128.store(out + at, i16x8.narrow_i32x4_u(a, b))
  }
}

export function meanBfloat16(high: usize, total: f64, out: usize, count: i32): void {
  const t = f64x2.splat(total)
  const shift = i64x2.splat(<i64>(52 - 7) << 52)
  const least = i64x2.splat(<i64>(1023 + 52 - 133) << 52)
  const bytes = (<usize>count) << 1
  for (let at: usize = 0; at < bytes; at += 16) {
    const a = i32x4.shr_u(rounded4(high + (at << 2), t, shift, least), 16)
    const b = i32x4.shr_u(rounded4(high + (at << 2) + 32, t, shift, least), 16)
    v128.store(out + at, i16x8.narrow_i32x4_u(a, b))
  }
}

// Sorts what the members have in each place, the smallest to the first member: odd-even transposition.
// @ts-ignore: decorator
@inline
function sortPlaces(wide: bool, x: usize, stride: usize, members: i32, bytes: usize): void {
  for (let at: usize = 0; at < bytes; at += 16) {
    for (let round = 0; round < members; round++) {
      let p = x + at + (round & 1 ? stride : 0)
      for (let k = round & 1; k + 1 < members; k += 2, p += stride << 1) {
        const a = v128.load(p)
        const b = v128.load(p + stride)
        v128.store(p, wide ? f64x2.min(a, b) : f32x4.min(a, b))
        v128.store(p + stride, wide ? f64x2.max(a, b) : f32x4.max(a, b))
      }
    }
  }
}

export function sortFloat32(x: usize, stride: usize, members: i32, count: i32): void {
  sortPlaces(false, x, stride, members, (<usize>count) << 2)
}

export function sortFloat64(x: usize, stride: usize, members: i32, count: i32): void {
  sortPlaces(true, x, stride, members, (<usize>count) << 3)
}

const PRIME1: u64 = 0x9e3779b185ebca87
const PRIME2: u64 = 0xc2b2ae3d27d4eb4f
const PRIME3: u64 = 0x165667b19e3779f9
const PRIME4: u64 = 0x85ebca77c2b2ae63
const PRIME5: u64 = 0x27d4eb2f165667c5

// @ts-ignore: decorator
@inline
function round(accumulator: u64, lane: u64): u64 {
  return rotl<u64>(accumulator + lane * PRIME2, 31) * PRIME1
}

// @ts-ignore: decorator
@inline
function merge(hash: u64, accumulator: u64): u64 {
  return (hash ^ round(0, accumulator)) * PRIME1 + PRIME4
}

// XXH64 with seed 0; xxhash_spec.md of Cyan4973/xxHash.
export function xxh64(x: usize, length: i32): u64 {
  const end = x + <usize>length
  let hash: u64 = PRIME5
  if (length >= 32) {
    let a: u64 = PRIME1 + PRIME2
    let b: u64 = PRIME2
    let c: u64 = 0
    let d: u64 = 0 - PRIME1
    for (const stop = end - 32; x <= stop; x += 32) {
      a = round(a, load<u64>(x))
      b = round(b, load<u64>(x, 8))
      c = round(c, load<u64>(x, 16))
      d = round(d, load<u64>(x, 24))
    }
    hash = rotl<u64>(a, 1) + rotl<u64>(b, 7) + rotl<u64>(c, 12) + rotl<u64>(d, 18)
    hash = merge(merge(merge(merge(hash, a), b), c), d)
  }
  hash += <u64>length
  for (; x + 8 <= end; x += 8) hash = rotl<u64>(hash ^ round(0, load<u64>(x)), 27) * PRIME1 + PRIME4
  if (x + 4 <= end) {
    hash = rotl<u64>(hash ^ (<u64>load<u32>(x) * PRIME1), 23) * PRIME2 + PRIME3
    x += 4
  }
  for (; x < end; x++) hash = rotl<u64>(hash ^ (<u64>load<u8>(x) * PRIME5), 11) * PRIME1
  hash = (hash ^ (hash >> 33)) * PRIME2
  hash = (hash ^ (hash >> 29)) * PRIME3
  return hash ^ (hash >> 32)
}
