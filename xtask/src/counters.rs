//! The table of counters that `mqtap serve` prints on SIGUSR1, read back.

use crate::outcome::{Result, fail};

/// One queue pair, seen from the guest: transmit is guest to tap.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) netdev: String,
    pub(crate) pair: u16,
    pub(crate) attached: bool,
    pub(crate) transmitted_frames: u64,
    pub(crate) received_frames: u64,
}

/// The counters of every queue pair of the daemon.
#[derive(Clone, Debug, Default)]
pub(crate) struct Table {
    pub(crate) rows: Vec<Row>,
    /// As printed.
    pub(crate) text: String,
}

impl Table {
    /// The row of a pair of the n-th netdev.
    pub(crate) fn row(&self, netdev: usize, pair: u16) -> Result<&Row> {
        let wanted = format!("hn{netdev}");
        self.rows
            .iter()
            .find(|row| row.netdev == wanted && row.pair == pair)
            .map_or_else(|| fail(format!("the daemon prints no counters of {wanted} pair {pair}")), Ok)
    }

    /// Reads the tables of `netdevs` netdevs out of the daemon's messages; none while they are not complete.
    pub(crate) fn parse(messages: &str, netdevs: usize) -> Option<Self> {
        let mut table = Self::default();
        let mut netdev: Option<&str> = None;
        let mut complete = 0;
        // The last line may still be half written.
        let (whole, _) = messages.rsplit_once('\n')?;
        for line in whole.lines() {
            if let Some((id, rest)) = line.split_once(" on ")
                && rest.contains(" queue pairs (")
                && !id.contains(' ')
            {
                netdev = Some(id);
            } else if let Some(id) = netdev {
                let words: Vec<&str> = line.split_whitespace().filter(|word| *word != "|").collect();
                if words.first() == Some(&"all") {
                    complete += 1;
                    table.text.push_str(line);
                    table.text.push('\n');
                    netdev = None;
                    continue;
                }
                table.rows.extend(row(id, &words));
            } else {
                continue;
            }
            table.text.push_str(line);
            table.text.push('\n');
        }
        (complete >= netdevs).then_some(table)
    }
}

/// `0 attached  frames bytes dropped  frames bytes dropped`.
fn row(netdev: &str, words: &[&str]) -> Option<Row> {
    let [pair, state, transmitted, _, _, received, ..] = words else {
        return None;
    };
    Some(Row {
        netdev: netdev.to_owned(),
        pair: pair.parse().ok()?,
        attached: *state == "attached",
        transmitted_frames: transmitted.parse().ok()?,
        received_frames: received.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::Table;

    const TEXT: &str = "2026 INFO something on tap0: else
hn0 on tap0: 2 queue pairs (4 virtqueues), 1 attached
  pair queue    |     guest->tap            bytes    dropped |     tap->guest            bytes    dropped
     0 attached |              7              700          0 |              3              300          1
     1 detached |              5              500          0 |              0                0          0
   all          |             12             1200          0 |              3              300          1
";

    #[test]
    fn a_table_is_read_back() {
        let table = Table::parse(TEXT, 1).unwrap();
        assert_eq!(table.rows.len(), 2);
        let row = table.row(0, 0).unwrap();
        assert!(row.attached);
        assert_eq!((row.transmitted_frames, row.received_frames), (7, 3));
        assert!(!table.row(0, 1).unwrap().attached);
        assert!(table.row(0, 2).is_err());
        assert!(table.text.starts_with("hn0 on tap0"));
    }

    #[test]
    fn half_a_table_is_none() {
        assert!(Table::parse(&TEXT[..TEXT.len() - 10], 1).is_none());
        assert!(Table::parse(TEXT, 2).is_none());
    }
}
