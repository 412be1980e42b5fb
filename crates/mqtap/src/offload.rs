//! What user space lets the kernel leave undone on the frames it reads from a tap.

use std::fmt;
use std::ops::{BitAnd, BitOr, Sub};

/// A set of `TUN_F_*` bits (include/uapi/linux/if_tun.h), for `TUNSETOFFLOAD`.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Offloads(u32);

macro_rules! offloads {
    ($($(#[$doc:meta])* $name:ident = $bits:literal,)*) => {
        impl Offloads {
            $($(#[$doc])* pub const $name: Self = Self($bits);)*
        }
        const NAMES: &[(Offloads, &str)] = &[$((Offloads::$name, stringify!($name)),)*];
    };
}

offloads! {
    /// Checksums may be left partial. Everything else needs it.
    CSUM = 0x01,
    /// IPv4 TCP super-frames.
    TSO4 = 0x02,
    /// IPv6 TCP super-frames.
    TSO6 = 0x04,
    /// TCP super-frames with ECN. Needs TSO4 or TSO6.
    TSO_ECN = 0x08,
    /// UDP super-frames that are to be fragmented. Accepted and without effect since Linux 4.14.
    UFO = 0x10,
    /// IPv4 UDP super-frames that are to be segmented. Linux 6.2; only together with USO6.
    USO4 = 0x20,
    /// IPv6 UDP super-frames that are to be segmented. Linux 6.2; only together with USO4.
    USO6 = 0x40,
    /// Super-frames inside UDP tunnels. Linux 6.17; needs another kind of super-frame and a header of 24 bytes.
    UDP_TUNNEL_GSO = 0x80,
    /// The same with an outer checksum. Needs `UDP_TUNNEL_GSO`.
    UDP_TUNNEL_GSO_CSUM = 0x100,
}

impl Offloads {
    /// Nothing: every frame comes complete and no longer than the MTU allows.
    pub const NONE: Self = Self(0);

    /// All that are known here.
    pub const ALL: Self = Self(0x1ff);

    const TSO: Self = Self(Self::TSO4.0 | Self::TSO6.0);
    const USO: Self = Self(Self::USO4.0 | Self::USO6.0);
    pub(crate) const TUNNEL: Self = Self(Self::UDP_TUNNEL_GSO.0 | Self::UDP_TUNNEL_GSO_CSUM.0);

    /// The `TUN_F_*` bits.
    #[must_use]
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// Whether all of `other` are in this set.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether any of `other` is in this set.
    #[must_use]
    pub const fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// Whether the set is empty.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The names of those in this set, as here and without `TUN_F_`.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        NAMES.iter().filter(move |(bit, _)| self.contains(*bit)).map(|(_, name)| *name)
    }

    /// The largest subset that obeys the kernel's rules on combinations (drivers/net/tun.c: `set_offload`).
    #[must_use]
    pub fn normalized(self) -> Self {
        if !self.contains(Self::CSUM) {
            return Self::NONE;
        }
        let mut set = self;
        if !set.intersects(Self::TSO) {
            set = set - Self::TSO_ECN;
        }
        if !set.contains(Self::USO) {
            set = set - Self::USO;
        }
        if !set.contains(Self::UDP_TUNNEL_GSO) || !set.intersects(Self::TSO | Self::USO) {
            set = set - Self::TUNNEL;
        }
        set
    }

    /// What to try, in this order, until the kernel accepts: what newer kernels brought goes first. The last rung is
    /// the empty set.
    pub(crate) fn ladder(self) -> impl Iterator<Item = Self> {
        let full = self.normalized();
        let without_tunnel = full - Self::TUNNEL;
        let without_uso = without_tunnel - Self::USO;
        let without_ufo = without_uso - Self::UFO;
        let mut last = None;
        [full, without_tunnel, without_uso, without_ufo, without_ufo & Self::CSUM, Self::NONE]
            .into_iter()
            .filter(move |&set| last.replace(set) != Some(set))
    }
}

impl BitOr for Offloads {
    type Output = Self;
    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitAnd for Offloads {
    type Output = Self;
    fn bitand(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
}

/// Set difference.
impl Sub for Offloads {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }
}

impl fmt::Display for Offloads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return f.write_str("none");
        }
        for (i, name) in self.names().enumerate() {
            if i > 0 {
                f.write_str("+")?;
            }
            f.write_str(name)?;
        }
        Ok(())
    }
}

impl fmt::Debug for Offloads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn impossible_combinations_lose_what_cannot_stand_alone() {
        assert_eq!(Offloads::TSO4.normalized(), Offloads::NONE);
        assert_eq!((Offloads::CSUM | Offloads::TSO_ECN).normalized(), Offloads::CSUM);
        assert_eq!((Offloads::CSUM | Offloads::USO4).normalized(), Offloads::CSUM);
        assert_eq!((Offloads::CSUM | Offloads::UDP_TUNNEL_GSO).normalized(), Offloads::CSUM);
        let good = Offloads::CSUM | Offloads::TSO4 | Offloads::UDP_TUNNEL_GSO | Offloads::UDP_TUNNEL_GSO_CSUM;
        assert_eq!(good.normalized(), good);
    }

    #[test]
    fn the_ladder_gives_up_the_newest_first_and_repeats_nothing() {
        let all = (0..9).fold(Offloads::NONE, |all, bit| all | Offloads(1 << bit));
        let rungs: Vec<_> = all.ladder().collect();
        assert_eq!(rungs.first(), Some(&all));
        assert_eq!(rungs.last(), Some(&Offloads::NONE));
        assert!(rungs.windows(2).all(|pair| pair[0].contains(pair[1]) && pair[0] != pair[1]), "{rungs:?}");
        assert_eq!(Offloads::NONE.ladder().collect::<Vec<_>>(), [Offloads::NONE]);
    }

    #[test]
    fn every_rung_obeys_the_kernels_rules() {
        for bits in 0..512 {
            assert!(Offloads(bits).ladder().all(|rung| rung == rung.normalized()), "{bits:#x}");
        }
    }
}
