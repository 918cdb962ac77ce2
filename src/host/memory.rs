//! Taking little memory, and giving it back.

#![allow(unsafe_code, reason = "mallopt(3) and malloc_trim(3) have no other door")]

/// Has all threads take memory from one heap. glibc gives each its own, and weir's work in turns: what
/// one has freed is of no use to the other then. To be called before there are threads.
pub fn share_memory() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it takes two numbers, and nobody else calls it.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 1);
    }
}

/// Gives the system what the process no longer uses of its memory. glibc keeps what a cold start or a
/// comparison took for good otherwise: half as much again as weir then needs.
pub fn give_back_memory() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it takes a number of bytes to keep, and may be called at any time by any thread.
    unsafe {
        libc::malloc_trim(0);
    }
}

#[cfg(all(test, target_env = "gnu"))]
mod tests {
    use super::*;

    /// Resident anonymous memory of this process, in KiB.
    fn resident() -> u64 {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    /// What is between pieces that are in use is what glibc keeps.
    #[test]
    fn what_is_free_between_what_is_not_is_given_back() {
        let mut pieces: Vec<Option<Box<[u8]>>> =
            (0..64 * 1024).map(|i| Some(vec![i as u8; 2048].into())).collect();
        pieces
            .iter_mut()
            .enumerate()
            .filter(|(i, _)| i % 64 != 0)
            .for_each(|(_, piece)| *piece = None);
        let before = resident();
        give_back_memory();
        let after = resident();
        // 128 MiB were taken; other tests may take some meanwhile.
        assert!(after + 64 * 1024 < before, "{before} KiB, then {after} KiB");
        assert_eq!(pieces.iter().flatten().count(), 1024);
    }
}
