//! The resources that a process has used.

use std::fs;
use std::time::Duration;

use nix::time::ClockId;
use nix::unistd::Pid;

/// A process, by its number.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Usage(u32);

/// The CPU time of a process.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Cpu {
    /// All of it, to the nanosecond.
    pub(crate) total: Duration,
    /// That spent in the kernel, as `/proc/PID/stat` has it, in hundredths of a second.
    pub(crate) system: Duration,
}

impl Usage {
    pub(crate) fn of(pid: u32) -> Self {
        Self(pid)
    }

    /// # Panics
    /// If it has ended.
    pub(crate) fn cpu(self) -> Cpu {
        let pid = Pid::from_raw(self.0.try_into().expect("a pid is positive"));
        let clock = ClockId::pid_cpu_clock_id(pid).expect("the process is there");
        let total = clock.now().expect("the process is there").into();
        Cpu { total, system: system_time(&self.read("stat")) }
    }

    /// A field of `/proc/PID/status` that is in kB, in bytes: `VmRSS`, `VmHWM`.
    pub(crate) fn memory(self, field: &str) -> f64 {
        bytes(&self.read("status"), field)
    }

    fn read(self, file: &str) -> String {
        fs::read_to_string(format!("/proc/{}/{file}", self.0)).expect("the process is there")
    }
}

/// `SUnreclaim` of `/proc/meminfo` (proc(5)) in bytes: what the kernel has allocated in objects and
/// does not only keep to be fast.
pub(crate) fn unreclaimable() -> f64 {
    bytes(&fs::read_to_string("/proc/meminfo").expect("there is /proc"), "SUnreclaim")
}

/// A field in kB of a file of /proc, in bytes.
fn bytes(text: &str, field: &str) -> f64 {
    let line = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    let kilobytes = line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok());
    kilobytes.unwrap_or_else(|| panic!("no {field} in {text}")) * 1024.0
}

/// `stime` of `/proc/PID/stat` (proc(5)), which counts in hundredths of a second (USER_HZ).
fn system_time(stat: &str) -> Duration {
    // The name of the program, in parentheses, may hold anything.
    let fields = stat.rsplit_once(')').expect("a name").1;
    let ticks = fields.split_whitespace().nth(12).and_then(|ticks| ticks.parse::<u64>().ok());
    Duration::from_millis(10 * ticks.expect("it is the fifteenth"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_own_process_has_used_time_and_memory() {
        let own = Usage::of(std::process::id());
        let before = own.cpu().total;
        let deadline = std::time::Instant::now() + Duration::from_millis(20);
        while std::time::Instant::now() < deadline {
            std::hint::spin_loop();
        }
        assert!(own.cpu().total > before);
        assert!(own.memory("VmHWM") >= own.memory("VmRSS") * 0.9 && own.memory("VmRSS") > 1e5);
    }

    #[test]
    fn system_time_is_found_behind_any_name() {
        let stat = "7 (a) (b 1) S 1 7 7 0 -1 4194560 100 0 0 0 250 31 0 0 20 0 1 0 12";
        assert_eq!(system_time(stat), Duration::from_millis(310));
    }
}
