//! What a process has used, from /proc (man `proc_pid_stat`, `proc_pid_status`).

/// CPU time and peak memory of one process, its threads included, its children not.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Usage {
    /// User and system CPU time, in seconds.
    pub cpu_seconds: f64,
    /// Largest resident set so far (`VmHWM`), in bytes.
    pub peak_rss_bytes: u64,
}

impl Usage {
    /// Of the process `pid`; `None` once it is gone.
    pub fn of(pid: u32) -> Option<Self> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        Self::parse(&stat, &status, rustix::param::clock_ticks_per_second())
    }

    fn parse(stat: &str, status: &str, ticks_per_second: u64) -> Option<Self> {
        // The command may hold blanks and brackets; fields count from after the last bracket, which
        // closes field 2. utime and stime are fields 14 and 15.
        let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace().skip(11);
        let ticks = fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?;
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
        let kib = peak.split_ascii_whitespace().next()?.parse::<u64>().ok()?;
        #[allow(clippy::cast_precision_loss, reason = "CPU ticks of one run are far below 2^53")]
        let cpu_seconds = ticks as f64 / ticks_per_second as f64;
        Some(Self { cpu_seconds, peak_rss_bytes: kib * 1024 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_with_blanks_and_brackets_is_read_past() {
        let stat = "42 (a) b (c) S 1 42 42 0 -1 4194560 900 0 0 0 150 50 0 0 20 0 4 0 100 1 2";
        let status = "Name:\tx\nVmPeak:\t  9 kB\nVmHWM:\t   2048 kB\n";
        assert_eq!(Usage::parse(stat, status, 100), Some(Usage { cpu_seconds: 2.0, peak_rss_bytes: 2 * 1024 * 1024 }));
    }

    #[test]
    fn our_own_usage_is_there_and_that_of_nobody_is_not() {
        assert!(Usage::of(std::process::id()).unwrap().peak_rss_bytes > 0);
        assert_eq!(Usage::of(u32::MAX), None);
    }
}
