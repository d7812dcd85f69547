//! Memory of this machine, as far as this process may have it.

use std::fs;

/// Memory in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Memory {
    /// All there is.
    pub(super) total: u64,
    /// What can be had without swapping.
    pub(super) available: u64,
}

impl Memory {
    /// Asks the kernel; none where it does not say.
    pub(super) fn of_this_machine() -> Option<Self> {
        let machine = Self::parse(&fs::read_to_string("/proc/meminfo").ok()?)?;
        let number = |name: &str| -> Option<u64> {
            fs::read_to_string(format!("/sys/fs/cgroup/{name}")).ok()?.trim().parse().ok()
        };
        Some(machine.limited(number("memory.max"), number("memory.current")))
    }

    /// The lines `MemTotal` and `MemAvailable` of proc(5), in KiB.
    fn parse(text: &str) -> Option<Self> {
        let number = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            line?.split_whitespace().next()?.parse::<u64>().ok()?.checked_mul(1_024)
        };
        Some(Self { total: number("MemTotal")?, available: number("MemAvailable")? })
    }

    /// What a limit on the group of processes leaves of it.
    fn limited(self, limit: Option<u64>, used: Option<u64>) -> Self {
        let Some(limit) = limit else { return self };
        let left = limit.saturating_sub(used.unwrap_or(0));
        Self { total: self.total.min(limit), available: self.available.min(left) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROC: &str = "MemTotal:       16384 kB\nMemFree: 1 kB\nMemAvailable:    8192 kB\n";

    #[test]
    fn the_kernel_and_the_group_limit_memory() {
        let machine = Memory::parse(PROC);
        let expected = Memory { total: 16 << 20, available: 8 << 20 };
        assert_eq!(machine, Some(expected));
        assert_eq!(expected.limited(None, Some(1)), expected);
        let limited = expected.limited(Some(4 << 20), Some(1 << 20));
        assert_eq!(limited, Memory { total: 4 << 20, available: 3 << 20 });
        assert_eq!(Memory::parse("MemTotal: x kB"), None);
        assert!(Memory::of_this_machine().is_some());
    }
}
