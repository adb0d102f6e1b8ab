//! Where in the text a node came from.
//!
//! A span is a remark, not part of a node's meaning: two spans always compare equal, so that a plan
//! built from SQL text equals the same plan built by DataFrame calls. It never holds the text.

use std::hash::{Hash, Hasher};

/// A stretch of source text. Line and column count from 1; line 0 means "not from text".
///
/// All spans compare equal (see the module's head); compare the fields to compare positions.
#[derive(Clone, Copy, Debug, Default)]
pub struct Span {
    /// Line, from 1; 0 when the node was not written as text.
    pub line: u32,
    /// Column in characters, from 1.
    pub column: u32,
    /// Byte offset of the first byte.
    pub offset: u32,
    /// Length in bytes.
    pub len: u32,
}

impl Span {
    /// The span of a node that did not come from text.
    pub const NONE: Span = Span { line: 0, column: 0, offset: 0, len: 0 };

    /// True when the node came from text.
    pub fn is_known(self) -> bool {
        self.line > 0
    }

    /// Byte offset just behind the last byte.
    pub fn end(self) -> u32 {
        self.offset.saturating_add(self.len)
    }

    /// The stretch from the start of `self` to the end of `last`.
    #[must_use]
    pub fn to(self, last: Span) -> Span {
        if !self.is_known() {
            return last;
        }
        if !last.is_known() {
            return self;
        }
        Span { len: last.end().saturating_sub(self.offset), ..self }
    }
}

impl PartialEq for Span {
    fn eq(&self, _: &Span) -> bool {
        true
    }
}

impl Eq for Span {}

impl Hash for Span {
    fn hash<H: Hasher>(&self, _: &mut H) {}
}
