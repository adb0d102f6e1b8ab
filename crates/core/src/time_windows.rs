//! Windows of event time of one length, one beginning every `slide`, and the slices that they are made of.
//!
//! ```text
//!  length 10, slide 4      |0   2   4   6   8   10  12  14      times at which a window begins (multiples of 4) or ends
//!  windows  [0,10)         [-------------------)                (2 more)
//!           [4,14)                 [-------------------)
//!  slices                  [---)[--)[--)[--)[--)[--)[--)        what lies between two of them
//! ```
//! All times of a slice are in the same windows, so it is enough to know of each row in which slice it is. There are at most
//! two slices per slide, also where length and slide have only a small common divisor.

use serde::{Deserialize, Serialize};

/// Windows `[start, start + length)`, with a start at `offset` and at every `slide` before and after it. Microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct TimeWindows {
    length_us: i64,
    slide_us: i64,
    offset_us: i64,
}

/// Times `[start_us, end_us)` that are in the same windows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeSlice {
    /// The first of them; it names the slice.
    pub start_us: i64,
    /// The first after them.
    pub end_us: i64,
}

impl TimeWindows {
    /// `None` unless `0 < slide <= length`: windows with gaps between them would lose rows.
    pub fn new(length_us: i64, slide_us: i64, offset_us: i64) -> Option<Self> {
        (0 < slide_us && slide_us <= length_us).then_some(Self { length_us, slide_us, offset_us })
    }

    /// How long each is.
    pub fn length_us(self) -> i64 {
        self.length_us
    }

    /// From one start to the next.
    pub fn slide_us(self) -> i64 {
        self.slide_us
    }

    /// Where the starts are counted from.
    pub fn offset_us(self) -> i64 {
        self.offset_us
    }

    /// How many windows hold a time, at most.
    pub fn overlap(self) -> i64 {
        self.length_us.saturating_add(self.slide_us - 1) / self.slide_us
    }

    /// The starts of the windows that hold a time, the last one first.
    pub fn starts(self, time_us: i64) -> impl Iterator<Item = i64> {
        let first = self.earliest_start(time_us);
        let before = move |start: &i64| start.checked_sub(self.slide_us);
        std::iter::successors(Some(self.latest_start(time_us)), before).take_while(move |start| *start >= first)
    }

    /// Whether a time is in one window only, which is then its slice.
    pub fn is_tumbling(self) -> bool {
        self.length_us == self.slide_us
    }

    /// The slice of a time.
    pub fn slice(self, time_us: i64) -> TimeSlice {
        let start = self.latest_start(time_us);
        // Windows end so long after one begins.
        let ends = self.length_us % self.slide_us;
        let end = start.saturating_add(ends);
        if ends > 0 && time_us < end {
            TimeSlice { start_us: start, end_us: end }
        } else {
            TimeSlice { start_us: end, end_us: start.saturating_add(self.slide_us) }
        }
    }

    /// The start of the last window that holds a time.
    pub fn latest_start(self, time_us: i64) -> i64 {
        time_us.saturating_sub(time_us.saturating_sub(self.offset_us).rem_euclid(self.slide_us))
    }

    /// The end of the last window that holds a time: a row is late when this is.
    pub fn latest_end(self, time_us: i64) -> i64 {
        self.end(self.latest_start(time_us))
    }

    /// The start of the first window that holds a time.
    pub fn earliest_start(self, time_us: i64) -> i64 {
        self.latest_start(time_us.saturating_sub(self.length_us)).saturating_add(self.slide_us)
    }

    /// The end of the window with this start.
    pub fn end(self, start_us: i64) -> i64 {
        start_us.saturating_add(self.length_us)
    }
}

#[cfg(test)]
mod tests;
