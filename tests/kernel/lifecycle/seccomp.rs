//! weir without the system calls that container runtimes take away.

use std::collections::BTreeMap;
use std::thread;

use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, apply_filter};

use crate::running::{Running, service, slice};

/// What the runtimes' default profile refuses to a container with CAP_NET_ADMIN alone, as far as
/// today's kernels have it (profiles/seccomp/default.json of moby). Not `setns`, though: the testbed
/// enters the node's namespace behind the filter.
const REFUSED: [libc::c_long; 42] = [
    libc::SYS_acct,
    libc::SYS_add_key,
    libc::SYS_bpf,
    libc::SYS_chroot,
    libc::SYS_clock_adjtime,
    libc::SYS_clock_settime,
    libc::SYS_delete_module,
    libc::SYS_fanotify_init,
    libc::SYS_finit_module,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fsopen,
    libc::SYS_get_mempolicy,
    libc::SYS_init_module,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_io_uring_setup,
    libc::SYS_kcmp,
    libc::SYS_kexec_file_load,
    libc::SYS_kexec_load,
    libc::SYS_keyctl,
    libc::SYS_mbind,
    libc::SYS_mount,
    libc::SYS_mount_setattr,
    libc::SYS_move_mount,
    libc::SYS_move_pages,
    libc::SYS_open_by_handle_at,
    libc::SYS_open_tree,
    libc::SYS_perf_event_open,
    libc::SYS_pivot_root,
    libc::SYS_quotactl,
    libc::SYS_reboot,
    libc::SYS_request_key,
    libc::SYS_set_mempolicy,
    libc::SYS_setdomainname,
    libc::SYS_sethostname,
    libc::SYS_settimeofday,
    libc::SYS_swapoff,
    libc::SYS_swapon,
    libc::SYS_umount2,
    libc::SYS_unshare,
    libc::SYS_userfaultfd,
];

fn filter(refused: &[libc::c_long]) -> BpfProgram {
    let rules: BTreeMap<_, _> = refused.iter().map(|call| (*call, Vec::new())).collect();
    let refuse = SeccompAction::Errno(libc::EPERM.unsigned_abs());
    let arch = std::env::consts::ARCH.try_into().expect("an architecture that it knows");
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, refuse, arch);
    filter.and_then(TryInto::try_into).expect("it is a filter")
}

#[test]
fn a_node_is_served_without_what_runtimes_refuse() {
    let mut running = Running::new();
    running.server.apply(service());
    running.server.apply(slice("10.244.0.2"));
    running.write_config("mode: nftables\n");
    // What a thread starts has its filter, and the thread ends with it.
    thread::scope(|scope| {
        scope.spawn(|| {
            apply_filter(&filter(&REFUSED)).expect("the kernel takes it");
            running.start_as_proxy();
        });
    });
    running.wait_for_answer_of("b1");
    running.server.apply(slice("10.244.0.3"));
    running.wait_for_answer_of("b2");
    let weir = running.weir.as_mut().expect("it runs").child().id();
    let status = std::fs::read_to_string(format!("/proc/{weir}/status")).expect("it runs");
    // SECCOMP_MODE_FILTER of uapi/linux/seccomp.h.
    assert!(status.contains("\nSeccomp:\t2\n"), "{status}");
    running.stop();
}
