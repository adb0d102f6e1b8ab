//! Calls of librdkafka that [`rdkafka`] has no safe form of, each as a safe function: the ids of topics, and the leader epochs that come
//! with offsets.
//!
//! The only crate with unsafe code. Nothing here knows Millstream, and nothing outlives a call: what librdkafka allocates for one is
//! freed before it returns.

mod describe_topics;
mod leader_epochs;
#[cfg(test)]
mod tests;

pub use describe_topics::{TopicIdResult, topic_ids};
pub use leader_epochs::leader_epochs;
