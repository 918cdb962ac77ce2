//! The process's OOM score.

use super::Sysctl;

pub(super) const OOM_SCORE_ADJ: &str = "proc/self/oom_score_adj";

/// What the process's `oom_score_adj` should be, -1000 (never) to 1000 (first). To lower it takes
/// CAP_SYS_RESOURCE (`__set_oom_adj` of the kernel's fs/proc/base.c).
pub fn oom_score_adj(value: i32) -> Sysctl {
    Sysctl { path: OOM_SCORE_ADJ, value: value.into(), may_lower: true }
}
