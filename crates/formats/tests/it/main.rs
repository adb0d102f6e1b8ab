//! The decoders as a whole, against what Spark answers.

mod encode;
mod gold;
mod random;
