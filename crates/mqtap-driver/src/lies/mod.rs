//! Everything a hostile driver can write into a ring, one function for each lie.
//!
//! A test loops over [`all`], picks what [`Lie::applies`], tells it on an idle ring (a receive ring without posted
//! buffers: [`crate::DriverOptions::fill_receive`] off) and looks for the [`Expectation`]. Afterwards
//! [`crate::Driver::restart_ring`], because the driver's own ring no longer knows what is in memory.

mod catalogue;
mod parts;
#[cfg(test)]
mod tests;

use crate::error::Result;
use crate::protocol::feature;
use crate::raw::RawRing;

/// What a backend does when it is told a lie. In every case it lives on, and so do its other rings.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub enum Expectation {
    /// It stops the ring, and signals the ring's error eventfd.
    RingBroken,
    /// It drops the frame, gives the chain back and goes on.
    FrameDropped,
    /// Nothing is wrong enough to notice, or there is more than one right answer: the process goes on.
    Survives,
}

/// Which rings a lie can be told on.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
enum Rings {
    Any,
    Split,
    Packed,
}

/// Which directions a lie can be told in.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
enum Way {
    Both,
    Transmit,
    Receive,
}

/// One lie.
#[derive(Copy, Clone, Debug)]
pub struct Lie {
    /// Its name, for messages.
    pub name: &'static str,
    rings: Rings,
    way: Way,
    /// Features without which it is another lie.
    needs: u64,
    /// Features with which it is none.
    without: u64,
    tell: fn(&RawRing) -> Result<Expectation>,
}

impl Lie {
    /// Whether it makes sense on this ring, with these features negotiated.
    #[must_use]
    pub fn applies(&self, ring: &RawRing, features: u64) -> bool {
        let layout = match self.rings {
            Rings::Any => true,
            Rings::Split => !ring.layout().packed,
            Rings::Packed => ring.layout().packed,
        };
        let way = match self.way {
            Way::Both => true,
            Way::Transmit => ring.is_transmit(),
            Way::Receive => !ring.is_transmit(),
        };
        layout && way && features & self.needs == self.needs && features & self.without == 0
    }

    /// Tells it: writes it into memory, and kicks.
    pub fn tell(&self, ring: &RawRing) -> Result<Expectation> {
        let expectation = (self.tell)(ring)?;
        ring.kick()?;
        Ok(expectation)
    }
}

macro_rules! lies {
    ($($function:ident: $rings:ident, $way:ident, $needs:expr $(, without $without:expr)?;)*) => {
        /// Every lie.
        #[must_use]
        pub fn all() -> &'static [Lie] {
            const ALL: &[Lie] = &[$(Lie {
                name: stringify!($function),
                rings: Rings::$rings,
                way: Way::$way,
                needs: $needs,
                without: 0 $(| $without)?,
                tell: catalogue::$function,
            }),*];
            ALL
        }
    };
}

lies! {
    loop_of_one: Split, Both, 0;
    loop_of_two: Split, Both, 0;
    next_outside_table: Split, Both, 0;
    head_outside_table: Split, Both, 0;
    available_index_jumps_ahead: Split, Both, 0;
    available_index_goes_back: Split, Both, 0;
    scribbled_used_index: Split, Both, 0;
    wild_call_event: Any, Both, 0;
    kicks_for_nothing: Any, Both, 0;
    chain_without_end: Packed, Both, 0;
    chain_cut_short: Packed, Both, 0;
    looks_used: Packed, Both, 0;
    buffer_outside_memory: Any, Both, 0;
    buffer_at_zero: Any, Both, 0;
    buffer_ends_outside_memory: Any, Both, 0;
    buffer_wraps_around: Any, Both, 0;
    buffer_of_4_gib: Any, Both, 0;
    wrong_direction: Any, Both, 0;
    second_buffer_outside_memory: Any, Both, 0;
    empty_receive_buffer: Any, Receive, 0;
    tiny_receive_buffer: Any, Receive, 0;
    empty_frame: Any, Transmit, 0;
    half_a_header: Any, Transmit, 0;
    header_and_nothing: Any, Transmit, 0;
    frame_of_128_kib: Any, Transmit, 0;
    header_with_wild_offsets: Any, Transmit, 0;
    header_with_gso_of_zero: Any, Transmit, 0;
    indirect_not_negotiated: Any, Both, 0, without feature::INDIRECT_DESC;
    indirect_in_indirect: Any, Both, feature::INDIRECT_DESC;
    indirect_and_next: Any, Both, feature::INDIRECT_DESC;
    indirect_table_outside_memory: Any, Both, feature::INDIRECT_DESC;
    indirect_table_of_no_bytes: Any, Both, feature::INDIRECT_DESC;
    indirect_table_of_17_bytes: Any, Both, feature::INDIRECT_DESC;
    indirect_table_of_4_gib: Any, Both, feature::INDIRECT_DESC;
    indirect_table_of_64_kib: Any, Both, feature::INDIRECT_DESC;
    indirect_loop: Split, Both, feature::INDIRECT_DESC;
    indirect_next_outside_table: Split, Both, feature::INDIRECT_DESC;
    indirect_buffer_outside_memory: Any, Both, feature::INDIRECT_DESC;
}
