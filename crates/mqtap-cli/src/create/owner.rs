//! To whom a tap belongs if nobody says.

/// Who runs this: with sudo, who ran that, since a tap of root's would be of no use to him. Root may open it in either case.
pub(super) fn default() -> u32 {
    let own = rustix::process::getuid().as_raw();
    let sudo = std::env::var("SUDO_UID").ok().and_then(|uid| uid.parse().ok());
    match sudo {
        Some(uid) if own == 0 && is_mapped(uid, &uid_map()) => uid,
        _ => own,
    }
}

fn uid_map() -> String {
    std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default()
}

/// Whether a user exists in this user namespace (user_namespaces(7)): root of another may have come from sudo as well.
fn is_mapped(uid: u32, map: &str) -> bool {
    map.lines().any(|line| {
        let mut numbers = line.split_whitespace().map(|number| number.parse::<u64>().unwrap_or(0));
        let (first, _, count) = (numbers.next(), numbers.next(), numbers.next());
        let (first, count) = (first.unwrap_or(0), count.unwrap_or(0));
        (first..first + count).contains(&uid.into())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_those_of_the_namespace() {
        let all = "         0          0 4294967295\n";
        let two = "         0     100000          2\n      1000       1000          1\n";
        assert!(is_mapped(0, all) && is_mapped(1000, all) && is_mapped(u32::MAX - 1, all));
        assert!(is_mapped(1, two) && is_mapped(1000, two));
        assert!(!is_mapped(2, two) && !is_mapped(1001, two) && !is_mapped(0, ""));
    }
}
