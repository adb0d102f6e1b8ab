//! Named places at which a test can end a run as a crash would.
//!
//! The loop passes a point behind every durable step. In production [`NoCrash`] lets everything pass; tests and the kill
//! campaign hand in others, which fail (the run then ends without any cleaning up) or abort the process.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::{Error, Result};

/// A place behind a durable step of the commit protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum CrashPoint {
    /// The run's start record is durable.
    AfterStart,
    /// The first positions of its sources are durable; no batch has been cut.
    AfterPositions,
    /// The intent is durable, no task has run.
    AfterIntent,
    /// All tasks have staged their output.
    AfterRun,
    /// The sinks have made it durable; nothing decides it yet.
    AfterPrepare,
    /// What the batch changed in the state of operators is durable; nothing decides it yet.
    AfterState,
    /// The batch is proposed to a sink that decides; it has not been asked to commit.
    AfterProposed,
    /// The sink that decides has committed; no record says so.
    AfterDecision,
    /// The prepared record is durable; nothing is committed, but in a sink that decides.
    AfterPrepared,
    /// All sinks have committed; no record says so.
    AfterCommit,
    /// The sources were told.
    AfterSourceCommit,
    /// A prepared batch of an earlier run was rolled forward.
    AfterRollForward,
    /// The last fact is durable.
    AfterFact,
}

impl CrashPoint {
    /// All points, in the order in which a batch passes them.
    pub const ALL: [Self; 13] = [
        Self::AfterStart,
        Self::AfterPositions,
        Self::AfterIntent,
        Self::AfterRun,
        Self::AfterPrepare,
        Self::AfterState,
        Self::AfterProposed,
        Self::AfterDecision,
        Self::AfterPrepared,
        Self::AfterCommit,
        Self::AfterSourceCommit,
        Self::AfterRollForward,
        Self::AfterFact,
    ];

    /// Its name, as tests and the environment write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::AfterStart => "after-start",
            Self::AfterPositions => "after-positions",
            Self::AfterIntent => "after-intent",
            Self::AfterRun => "after-run",
            Self::AfterPrepare => "after-prepare",
            Self::AfterState => "after-state",
            Self::AfterProposed => "after-proposed",
            Self::AfterDecision => "after-decision",
            Self::AfterPrepared => "after-prepared",
            Self::AfterCommit => "after-commit",
            Self::AfterSourceCommit => "after-source-commit",
            Self::AfterRollForward => "after-roll-forward",
            Self::AfterFact => "after-fact",
        }
    }

    /// The point of a name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|point| point.name() == name)
    }
}

impl fmt::Display for CrashPoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Told of every point; an error ends the run there, as a crash would.
pub trait CrashPoints: Send + Sync + fmt::Debug {
    /// A run passes `point`.
    fn reach(&self, point: CrashPoint) -> Result<()>;
}

/// Lets everything pass.
#[derive(Debug, Default, Clone, Copy)]
pub struct NoCrash;

impl CrashPoints for NoCrash {
    fn reach(&self, _: CrashPoint) -> Result<()> {
        Ok(())
    }
}

/// Fails when a run passes a point for the n-th time: a crash within a process.
#[derive(Debug)]
pub struct FailAt {
    point: CrashPoint,
    left: AtomicU64,
}

impl FailAt {
    /// At the n-th time, from 1.
    pub fn new(point: CrashPoint, n: u64) -> Self {
        Self { point, left: AtomicU64::new(n) }
    }
}

impl CrashPoints for FailAt {
    fn reach(&self, point: CrashPoint) -> Result<()> {
        if point == self.point && self.left.fetch_sub(1, Ordering::Relaxed) == 1 {
            return Err(Error::internal(format!("crash {point}")).code(CRASH));
        }
        Ok(())
    }
}

/// Aborts the process when it passes a point for the n-th time: a crash of a real process.
#[derive(Debug)]
pub struct AbortAt {
    point: CrashPoint,
    left: AtomicU64,
}

impl AbortAt {
    /// From text such as `after-prepared:3`; without a number, the first time.
    pub fn parse(text: &str) -> Result<Self> {
        let (name, n) = text.split_once(':').unwrap_or((text, "1"));
        let point = CrashPoint::from_name(name).ok_or_else(|| {
            let known: Vec<&str> = CrashPoint::ALL.into_iter().map(CrashPoint::name).collect();
            Error::invalid(format!("'{name}' is not one of {}", known.join(", ")))
        })?;
        let left = n.parse().map_err(|_| Error::invalid(format!("'{n}' is not a number")))?;
        Ok(Self { point, left: AtomicU64::new(left) })
    }
}

impl CrashPoints for AbortAt {
    fn reach(&self, point: CrashPoint) -> Result<()> {
        if point == self.point && self.left.fetch_sub(1, Ordering::Relaxed) == 1 {
            std::process::abort();
        }
        Ok(())
    }
}

/// The error class of an injected crash.
pub const CRASH: &str = "INJECTED_CRASH";
