// AssemblyScript, compiled by `npm run kernels` into ../generated: the additions of ../kernels.ts, four elements at a time.
//
// All share one contract. high[i] += weight * x[i] where that is exact (Dekker: s - a == v and s - v == a for the rounded
// sum s); the indices of all other elements, NaN and infinities among them, go to `spills`, and their sums stay.
// Returns how many those are. Pointers are bytes; x may be read up to 12 bytes behind its end.

// @inline
function add4(at: usize, f: v128, w: v128): i32 {
  const v0 = f64x2.mul(f64x2.promote_low_f32x4(f), w)
  const high = i8x16.shuffle(f, f, 8, 9, 10, 11, 12, 13, 14, 15, 8, 9, 10, 11, 12, 13, 14, 15)
  const v1 = f64x2.mul(f64x2.promote_low_f32x4(high), w)
  const a0 = v128.load(at)
  const a1 = v128.load(at, 16)
  const s0 = f64x2.add(a0, v0)
  const s1 = f64x2.add(a1, v1)
  const e0 = v128.and(f64x2.eq(f64x2.sub(s0, a0), v0), f64x2.eq(f64x2.sub(s0, v0), a0))
  const e1 = v128.and(f64x2.eq(f64x2.sub(s1, a1), v1), f64x2.eq(f64x2.sub(s1, v1), a1))
  v128.store(at, v128.bitselect(s0, a0, e0))
  v128.store(at, v128.bitselect(s1, a1, e1), 16)
  return i64x2.bitmask(e0) | (i64x2.bitmask(e1) << 2)
}

// The elements of a group that were not exact; those behind the end are none.
// @inline
function spill4(exact: i32, i: i32, count: i32, spills: usize, spilled: i32): i32 {
  if (exact == 15) return spilled
  for (let k = 0; k < 4 && i + k < count; k++) {
    if ((exact >> k) & 1) continue
    store<i32>(spills + ((<usize>spilled) << 2), i + k)
    spilled++
  }
  return spilled
}

export function addFloat32(high: usize, x: usize, count: i32, weight: f64, spills: usize): i32 {
  const w = f64x2.splat(weight)
  let spilled = 0
  for (let i = 0; i < count; i += 4) {
    const f = v128.load(x + ((<usize>i) << 2))
    spilled = spill4(add4(high + ((<usize>i) << 3), f, w), i, count, spills, spilled)
  }
  return spilled
}

export function addBfloat16(high: usize, x: usize, count: i32, weight: f64, spills: usize): i32 {
  const w = f64x2.splat(weight)
  let spilled = 0
  for (let i = 0; i < count; i += 4) {
    const f = i32x4.shl(i32x4.extend_low_i16x8_u(v128.load64_zero(x + ((<usize>i) << 1))), 16)
    spilled = spill4(add4(high + ((<usize>i) << 3), f, w), i, count, spills, spilled)
  }
  return spilled
}

// A float16 as a float32: its magnitude thirteen bits up has an exponent that is 112 too small; that of infinities and
// NaN is set by hand.
export function addFloat16(high: usize, x: usize, count: i32, weight: f64, spills: usize): i32 {
  const w = f64x2.splat(weight)
  const scale = f32x4.splat(reinterpret<f32>(0x77800000)) // 2^112
  const largest = i32x4.splat(0x7bff)
  const infinite = i32x4.splat(0x7f800000)
  const magnitudes = i32x4.splat(0x7fff)
  let spilled = 0
  for (let i = 0; i < count; i += 4) {
    const h = i32x4.extend_low_i16x8_u(v128.load64_zero(x + ((<usize>i) << 1)))
    const magnitude = v128.and(h, magnitudes)
    const sign = i32x4.shl(v128.andnot(h, magnitudes), 16)
    const finite = f32x4.mul(i32x4.shl(magnitude, 13), scale)
    const bits = v128.bitselect(infinite, finite, i32x4.gt_s(magnitude, largest))
    spilled = spill4(add4(high + ((<usize>i) << 3), v128.or(bits, sign), w), i, count, spills, spilled)
  }
  return spilled
}
