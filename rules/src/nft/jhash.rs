//! The kernel's `jhash`, which `jhash EXPRESSION mod M seed S` of nft is.
//!
//! It is Bob Jenkins's lookup3 as include/linux/jhash.h has it (`jhash`), on a machine whose byte
//! order is little-endian; `reciprocal_scale` of include/linux/kernel.h takes the place of a modulo.

/// `JHASH_INITVAL`.
const INITIAL: u32 = 0xdead_beef;

/// Which of `modulus` values the kernel gives these bytes, whole words, with this seed.
pub fn jhash(bytes: &[u8], modulus: u32, seed: u32) -> u32 {
    let hash = hash(bytes, seed);
    ((u64::from(hash) * u64::from(modulus)) >> 32) as u32
}

fn hash(bytes: &[u8], seed: u32) -> u32 {
    let words: Vec<u32> =
        bytes.as_chunks().0.iter().map(|&chunk| u32::from_le_bytes(chunk)).collect();
    let start = INITIAL.wrapping_add(bytes.len() as u32).wrapping_add(seed);
    let mut state = [start; 3];
    let mut rest = words.as_slice();
    while rest.len() > 3 {
        add(&mut state, &rest[..3]);
        mix(&mut state);
        rest = &rest[3..];
    }
    if !rest.is_empty() {
        add(&mut state, rest);
        finish(&mut state);
    }
    state[2]
}

fn add(state: &mut [u32; 3], words: &[u32]) {
    state.iter_mut().zip(words).for_each(|(state, word)| *state = state.wrapping_add(*word));
}

/// `__jhash_mix`.
fn mix([a, b, c]: &mut [u32; 3]) {
    let step = |x: &mut u32, y: u32, z: &mut u32, by: u32| {
        *x = x.wrapping_sub(*z) ^ z.rotate_left(by);
        *z = z.wrapping_add(y);
    };
    step(a, *b, c, 4);
    step(b, *c, a, 6);
    step(c, *a, b, 8);
    step(a, *b, c, 16);
    step(b, *c, a, 19);
    step(c, *a, b, 4);
}

/// `__jhash_final`.
fn finish([a, b, c]: &mut [u32; 3]) {
    let step = |x: &mut u32, y: u32, by: u32| *x = (*x ^ y).wrapping_sub(y.rotate_left(by));
    step(c, *b, 14);
    step(a, *c, 11);
    step(b, *a, 25);
    step(c, *b, 16);
    step(a, *c, 4);
    step(b, *a, 14);
    step(c, *b, 24);
}

#[cfg(test)]
#[path = "jhash_tests.rs"]
mod tests;
