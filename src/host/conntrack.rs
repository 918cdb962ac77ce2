//! Sysctls of connection tracking (`pkg/proxy/conntrack/sysctls.go` of kube-proxy).

use std::time::Duration;

use super::Sysctl;
use crate::config::Conntrack;

/// The kernel is fast while there are at most so many entries for each bucket of its hash table.
const ENTRIES_PER_BUCKET: i64 = 4;

/// What the settings ask for on a machine with so many CPUs.
///
/// A table is never made smaller: what no longer fits into it would be refused. A timeout is
/// shortened only if another one than the default is asked for, so that a longer one that somebody
/// has set on the node survives a configuration that does not mention it.
pub fn conntrack(settings: &Conntrack, cpus: u32) -> Vec<Sysctl> {
    let mut knobs = Vec::new();
    if let Some(max) = settings.max(cpus).map(i64::from) {
        knobs.push(grow("proc/sys/net/netfilter/nf_conntrack_max", max));
        // 0 would have the kernel choose for itself.
        let buckets = (max / ENTRIES_PER_BUCKET).max(1);
        knobs.push(grow("sys/module/nf_conntrack/parameters/hashsize", buckets));
    }
    let timeouts = [
        (
            "proc/sys/net/netfilter/nf_conntrack_tcp_timeout_established",
            settings.tcp_established_timeout,
            Some(Conntrack::TCP_ESTABLISHED_TIMEOUT),
        ),
        (
            "proc/sys/net/netfilter/nf_conntrack_tcp_timeout_close_wait",
            settings.tcp_close_wait_timeout,
            Some(Conntrack::TCP_CLOSE_WAIT_TIMEOUT),
        ),
        ("proc/sys/net/netfilter/nf_conntrack_udp_timeout", settings.udp_timeout, None),
        (
            "proc/sys/net/netfilter/nf_conntrack_udp_timeout_stream",
            settings.udp_stream_timeout,
            None,
        ),
    ];
    for (path, timeout, default) in timeouts {
        if let Some(timeout) = timeout {
            knobs.push(Sysctl {
                path,
                value: seconds(timeout),
                may_lower: Some(timeout) != default,
            });
        }
    }
    if settings.tcp_be_liberal {
        knobs.push(grow("proc/sys/net/netfilter/nf_conntrack_tcp_be_liberal", 1));
    }
    knobs
}

fn grow(path: &'static str, value: i64) -> Sysctl {
    Sysctl { path, value, may_lower: false }
}

/// What is less than a second is none, for the kernel as for kube-proxy.
fn seconds(timeout: Duration) -> i64 {
    i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEAVE_ALL: Conntrack = Conntrack {
        max_per_core: None,
        min: 0,
        tcp_established_timeout: None,
        tcp_close_wait_timeout: None,
        tcp_be_liberal: false,
        udp_timeout: None,
        udp_stream_timeout: None,
    };

    fn written(settings: &Conntrack) -> Vec<(&'static str, i64, bool)> {
        let knobs = conntrack(settings, 8).into_iter();
        knobs
            .map(|knob| (knob.path.rsplit('/').next().unwrap(), knob.value, knob.may_lower))
            .collect()
    }

    #[test]
    fn nothing_is_set_that_is_not_asked_for() {
        assert_eq!(written(&LEAVE_ALL), []);
    }

    #[test]
    fn defaults_only_raise_and_other_timeouts_are_set_as_they_are() {
        let hours = |hours: u64| Some(Duration::from_secs(hours * 3600));
        let defaults = Conntrack {
            max_per_core: Some(32_768),
            min: 131_072,
            tcp_established_timeout: hours(24),
            tcp_close_wait_timeout: hours(1),
            ..LEAVE_ALL
        };
        let table = [("nf_conntrack_max", 262_144, false), ("hashsize", 65_536, false)];
        let raised = [
            ("nf_conntrack_tcp_timeout_established", 86_400, false),
            ("nf_conntrack_tcp_timeout_close_wait", 3_600, false),
        ];
        assert_eq!(written(&defaults), [table, raised].concat());
        let all = Conntrack {
            tcp_established_timeout: hours(2),
            tcp_close_wait_timeout: hours(2),
            tcp_be_liberal: true,
            udp_timeout: hours(3),
            udp_stream_timeout: Some(Duration::from_millis(4_900)),
            ..LEAVE_ALL
        };
        assert_eq!(
            written(&all),
            [
                ("nf_conntrack_tcp_timeout_established", 7_200, true),
                ("nf_conntrack_tcp_timeout_close_wait", 7_200, true),
                ("nf_conntrack_udp_timeout", 10_800, true),
                ("nf_conntrack_udp_timeout_stream", 4, true),
                ("nf_conntrack_tcp_be_liberal", 1, false),
            ]
        );
    }
}
