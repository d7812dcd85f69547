//! What this process takes of the machine.

/// Most memory of this process in use at a time since its start, in bytes; 0 where the kernel does
/// not say.
#[must_use]
pub fn peak_rss_bytes() -> u64 {
    std::fs::read_to_string("/proc/self/status").map_or(0, |status| parse(&status))
}

/// The line `VmHWM:   1234 kB` of proc(5).
fn parse(status: &str) -> u64 {
    status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .and_then(|rest| rest.split_whitespace().next())
        .and_then(|kibibytes| kibibytes.parse::<u64>().ok())
        .map_or(0, |kibibytes| kibibytes.saturating_mul(1_024))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_peak_is_read() {
        let check = |status: &str, expected: u64| assert_eq!(parse(status), expected, "{status}");
        check("VmPeak:\t 9 kB\nVmHWM:\t  1234 kB\nVmRSS:\t 5 kB\n", 1_263_616);
        check("VmHWM:\n", 0);
        check("", 0);
        assert!(peak_rss_bytes() > 1_000_000);
    }
}
