//! How much of this process's address space others may have.
//!
//! What a frontend shares costs it nothing: a sparse file of 64 TiB is mapped in a moment. A process that serves several must
//! not let one of them take what the others, and the process itself, need.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use super::truncation::SLOTS;

/// What all frontends together have.
static ALL: Account = Account::new();

/// Mappings of one frontend: its 509 memory slots while they are replaced by others, and the dirty log likewise.
const MAPPINGS: usize = 1024;

#[derive(Debug, Default)]
struct Account {
    bytes: AtomicU64,
    mappings: AtomicUsize,
}

impl Account {
    const fn new() -> Self {
        Self { bytes: AtomicU64::new(0), mappings: AtomicUsize::new(0) }
    }

    /// Takes one mapping of so many bytes, unless that is too much.
    fn take(&self, bytes: u64, limit: Limit) -> Result<(), Limit> {
        let more = |now: u64| now.checked_add(bytes).filter(|&sum| sum <= limit.bytes);
        let one_more = |now: usize| (now < limit.mappings).then_some(now + 1);
        let order = Ordering::Relaxed;
        self.bytes.fetch_update(order, order, more).map_err(|_| limit)?;
        if self.mappings.fetch_update(order, order, one_more).is_err() {
            self.bytes.fetch_sub(bytes, order);
            return Err(limit);
        }
        Ok(())
    }

    fn give_back(&self, bytes: u64) {
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
        self.mappings.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The most that somebody may have mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Limit {
    pub(super) bytes: u64,
    pub(super) mappings: usize,
}

/// What one frontend may have mapped here at once: an eighth of the address space (16 TiB on x86-64) in 1024 mappings. All
/// frontends of a process together may have three quarters of it.
#[derive(Clone, Debug)]
pub struct Budget {
    account: Arc<Account>,
    limit: Limit,
    all: Limit,
}

impl Budget {
    /// That of a frontend that has nothing mapped yet. Clones are the same budget.
    #[must_use]
    pub fn new() -> Self {
        let space = address_space();
        Self {
            account: Arc::default(),
            limit: Limit { bytes: space / 8, mappings: MAPPINGS },
            all: Limit { bytes: space / 4 * 3, mappings: SLOTS },
        }
    }

    #[cfg(test)]
    pub(super) fn of(bytes: u64, mappings: usize) -> Self {
        Self { limit: Limit { bytes, mappings }, ..Self::new() }
    }

    /// Takes a mapping of so many bytes out of it, until the lease is dropped. Fails with the limit that is in the way.
    pub(super) fn lease(&self, bytes: u64) -> Result<Lease, Limit> {
        self.account.take(bytes, self.limit)?;
        if let Err(limit) = ALL.take(bytes, self.all) {
            self.account.give_back(bytes);
            return Err(limit);
        }
        Ok(Lease { account: Arc::clone(&self.account), bytes })
    }
}

impl Default for Budget {
    fn default() -> Self {
        Self::new()
    }
}

/// A part of a budget that is taken.
#[derive(Debug)]
pub(super) struct Lease {
    account: Arc<Account>,
    bytes: u64,
}

impl Drop for Lease {
    fn drop(&mut self) {
        ALL.give_back(self.bytes);
        self.account.give_back(self.bytes);
    }
}

/// Bytes of address space that a process of this machine has: stacks are near its upper end.
fn address_space() -> u64 {
    let here = 0_u8;
    (std::ptr::from_ref(&here).addr() as u64).next_power_of_two()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_given_back_can_be_taken_again() {
        let budget = Budget::of(100, 2);
        let limit = Limit { bytes: 100, mappings: 2 };
        assert_eq!(budget.lease(101).unwrap_err(), limit);
        let first = budget.lease(60).unwrap();
        assert_eq!(budget.lease(41).unwrap_err(), limit);
        let second = budget.clone().lease(40).unwrap();
        drop(first);
        let third = budget.lease(1).unwrap();
        assert_eq!(budget.lease(1).unwrap_err(), limit, "two mappings");
        assert!(Budget::of(1, 1).lease(1).is_ok(), "another frontend has its own");
        drop((second, third));
        assert!(budget.lease(100).is_ok());
    }

    #[test]
    fn the_address_space_is_that_of_the_machine() {
        let space = address_space();
        assert!(space.is_power_of_two() && space >= 1 << 38, "{space:#x}");
        #[cfg(target_arch = "x86_64")]
        assert_eq!(space, 1 << 47);
        // From any thread.
        assert_eq!(std::thread::spawn(address_space).join().unwrap(), space);
    }
}
