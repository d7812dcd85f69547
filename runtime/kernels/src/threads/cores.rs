//! How many physical cores this process may use.

use std::{collections::BTreeSet, fs, path::Path};

/// Physical cores among the processors that affinity allows, and no more than the control group's
/// quota; at least one.
pub(super) fn usable() -> usize {
    let quota = std::thread::available_parallelism().map_or(1, usize::from);
    let allowed = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let allowed = allowed.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
    let cores: BTreeSet<_> = processors(allowed.unwrap_or_default()).filter_map(core).collect();
    if cores.is_empty() { quota } else { quota.min(cores.len()) }
}

/// The numbers in a list such as `0-2,5`. A hostile range is cut: no machine has more.
fn processors(list: &str) -> impl Iterator<Item = usize> {
    const PROCESSORS_MAX: usize = 8192;
    list.trim().split(',').flat_map(|part| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let range = first.parse::<usize>().ok().zip(last.parse::<usize>().ok());
        range.map_or(0..0, |(first, last)| first..PROCESSORS_MAX.min(last.saturating_add(1)))
    })
}

/// Package and core that a processor belongs to.
fn core(processor: usize) -> Option<(String, String)> {
    let folder = format!("/sys/devices/system/cpu/cpu{processor}/topology");
    let read = |name| fs::read_to_string(Path::new(&folder).join(name)).ok();
    Some((read("physical_package_id")?, read("core_id")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_processors_are_read_as_the_kernel_writes_them() {
        let check = |list, expected: &[usize]| {
            assert_eq!(processors(list).collect::<Vec<_>>(), expected);
        };
        check("\t0-2,5\n", &[0, 1, 2, 5]);
        check("7", &[7]);
        check("", &[]);
        check("x-y,3-1", &[]);
    }
}
