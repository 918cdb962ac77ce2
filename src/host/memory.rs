//! The allocator, and returning free memory to the kernel.
//!
//! glibc leaves gaps between long-lived allocations, of which there are many small ones: at 44,000 Services a
//! third of its heap. jemalloc groups allocations by size.

#![allow(unsafe_code, reason = "jemalloc is set by a symbol and told by mallctl(3)")]

use std::ptr;

use tikv_jemallocator::Jemalloc;

#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

/// How it is set (TUNING.md of jemalloc): one heap for all threads, since weir's work in turns, and
/// what is free goes back to the system after 0.2 s, so that a cold start takes little more than stays.
// SAFETY: jemalloc reads a pointer to a string that ends with a zero, and never changes it.
#[unsafe(export_name = "_rjem_malloc_conf")]
pub(super) static SETTINGS: &[u8; 46] = b"narenas:1,dirty_decay_ms:200,muzzy_decay_ms:0\0";

/// Returns unused memory to the kernel. Left to itself, jemalloc does so only while it is asked for
/// more.
pub fn give_back_memory() {
    let all_arenas = c"arena.4096.purge";
    // SAFETY: the name ends with a zero; this one takes and gives no value (jemalloc(3)).
    let error = unsafe {
        tikv_jemalloc_sys::mallctl(
            all_arenas.as_ptr(),
            ptr::null_mut(),
            ptr::null_mut(),
            ptr::null_mut(),
            0,
        )
    };
    debug_assert_eq!(error, 0, "it is known");
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Resident anonymous memory of this process, in KiB.
    fn resident() -> u64 {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    #[test]
    fn the_settings_are_those_that_count() {
        let read = |name: &std::ffi::CStr, value: *mut std::ffi::c_void, mut size: usize| {
            // SAFETY: the value has room for what is read, whose size is told and checked.
            unsafe {
                tikv_jemalloc_sys::mallctl(name.as_ptr(), value, &mut size, ptr::null_mut(), 0)
            }
        };
        let (mut arenas, mut decay) = (0_u32, 0_isize);
        assert_eq!(read(c"opt.narenas", (&raw mut arenas).cast(), size_of::<u32>()), 0);
        assert_eq!(read(c"opt.dirty_decay_ms", (&raw mut decay).cast(), size_of::<isize>()), 0);
        assert_eq!((arenas, decay), (1, 200));
    }

    #[test]
    fn what_is_free_between_what_is_not_is_given_back() {
        let mut pieces: Vec<Option<Box<[u8]>>> =
            (0..64 * 1024).map(|i| Some(vec![i as u8; 2048].into())).collect();
        let before = resident();
        pieces
            .iter_mut()
            .enumerate()
            .filter(|(i, _)| i % 64 >= 2)
            .for_each(|(_, piece)| *piece = None);
        give_back_memory();
        let after = resident();
        // 128 MiB were taken; other tests may take some meanwhile.
        assert!(after + 64 * 1024 < before, "{before} KiB, then {after} KiB");
        assert_eq!(pieces.iter().flatten().count(), 2048);
    }
}
