//! One run's figures, and what many runs say together.

use serde::{Deserialize, Serialize};

/// What one run counted.
#[derive(Clone, Debug, Default)]
pub(super) struct Sample {
    /// Frames as the driver sees them: a super-frame is one.
    pub(super) frames: u64,
    /// Datagrams or segments: a super-frame is many.
    pub(super) payloads: u64,
    /// Bytes of the frames, from the Ethernet header on.
    pub(super) bytes: u64,
    pub(super) wall_ns: u64,
    /// Of all threads of the backend.
    pub(super) cpu_ns: u64,
    pub(super) kicks: u64,
    pub(super) calls: u64,
}

impl Sample {
    pub(super) fn add(&mut self, other: &Self) {
        self.frames += other.frames;
        self.payloads += other.payloads;
        self.bytes += other.bytes;
        self.wall_ns += other.wall_ns;
        self.cpu_ns += other.cpu_ns;
        self.kicks += other.kicks;
        self.calls += other.calls;
    }

    /// Of each payload, or of each frame where the two are the same.
    pub(super) fn cpu_per_payload(&self) -> f64 {
        ratio(self.cpu_ns, self.payloads)
    }

    pub(super) fn payloads_per_second(&self) -> f64 {
        ratio(self.payloads, self.wall_ns) * 1e9
    }

    pub(super) fn gigabits_per_second(&self) -> f64 {
        ratio(self.bytes * 8, self.wall_ns)
    }

    pub(super) fn notifications_per_frame(&self) -> f64 {
        ratio(self.kicks + self.calls, self.frames)
    }
}

fn ratio(a: u64, b: u64) -> f64 {
    if b == 0 { 0.0 } else { a as f64 / b as f64 }
}

/// Median, least and most of a figure over the runs.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
pub(super) struct Figure {
    pub(super) median: f64,
    pub(super) least: f64,
    pub(super) most: f64,
}

impl Figure {
    pub(super) fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let Some((&least, &most)) = values.first().zip(values.last()) else {
            return Self::default();
        };
        let middle = values.len() / 2;
        let median =
            if values.len() % 2 == 1 { values[middle] } else { (values[middle - 1] + values[middle]) / 2.0 };
        Self { median, least, most }
    }
}

#[cfg(test)]
mod tests {
    use super::Figure;

    #[test]
    fn the_median_is_in_the_middle() {
        let figure = Figure::of([5.0, 1.0, 9.0]);
        assert_eq!((figure.median, figure.least, figure.most), (5.0, 1.0, 9.0));
        assert_eq!(Figure::of([4.0, 1.0]).median, 2.5);
        assert_eq!(Figure::of([]).median, 0.0);
    }
}
