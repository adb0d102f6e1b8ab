//! Which state a reader wants: Spark's option names, and ours for names that Spark does not have.

use millstream_core::{BatchId, Error, OptionSpec, Options, Result};

use crate::file::STORE_OPTIONS;

/// The formats of this connector: ours, Spark's name of it, and the list of operators.
pub const STATE_FORMATS: &[&str] = &["state", "statestore", METADATA_FORMAT];

/// The list of operators.
pub(super) const METADATA_FORMAT: &str = "state-metadata";

const PATH: OptionSpec = OptionSpec::new("path", "the checkpoint folder, required");

const STATE_OPTIONS: &[OptionSpec] = &[
    PATH,
    OptionSpec::new("operatorId", "the operator's number, from the sources up (state-metadata lists them)"),
    OptionSpec::new("operator", "the operator's name, or its number; not needed if there is one operator"),
    OptionSpec::new("storeName", "the operator's store, default 'default', or the only one"),
    OptionSpec::new("store", "the same as storeName"),
    OptionSpec::new("joinSide", "left or right: the rows that a join keeps of that side; none (default)"),
    OptionSpec::new("batchId", "the batch after which the state is read, default the last one that is decided"),
    OptionSpec::new("version", "the same as batchId"),
];

/// Options of Spark's reader for what this one does not do.
const REFUSED: &[(&str, &str)] = &[
    ("readChangeFeed", "the changes of batches as rows"),
    ("changeStartBatchId", "the changes of batches as rows"),
    ("changeEndBatchId", "the changes of batches as rows"),
    ("snapshotStartBatchId", "choosing the snapshot to begin with: the newest whole one is taken"),
    ("snapshotPartitionId", "reading one partition: filter by partition_id"),
    ("stateVarName", "state variables: name the store with storeName"),
    ("readRegisteredTimers", "registered timers"),
    ("flattenCollectionTypes", "collections as rows"),
    ("internalOnlyReadAllColumnFamilies", "column families"),
];

pub(super) fn state_specs() -> Vec<OptionSpec> {
    let refused = REFUSED.iter().map(|(name, _)| OptionSpec::new(name, "Spark's; refused"));
    STATE_OPTIONS.iter().copied().chain(refused).chain(STORE_OPTIONS.iter().copied()).collect()
}

pub(super) fn metadata_specs() -> Vec<OptionSpec> {
    [&[PATH], STORE_OPTIONS].concat()
}

/// What the options say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct StateOptions {
    pub(super) operator: Option<WantedOperator>,
    pub(super) store: Option<String>,
    pub(super) version: Option<BatchId>,
}

/// An operator as a user names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum WantedOperator {
    Name(String),
    Ordinal(u32),
}

impl StateOptions {
    pub(super) fn parse(options: &Options) -> Result<Self> {
        options.check("state source", &state_specs())?;
        if let Some((name, what)) = REFUSED.iter().find(|(name, _)| options.get(name).is_some()) {
            return Err(Error::unsupported(format!("option '{name}' of the state source ({what})")));
        }
        let ordinal = one_of(options, "operatorId", "operatorId")?.map(|text| number("operatorId", text)).transpose()?;
        let named = one_of(options, "operator", "operator")?;
        let operator = match (ordinal, named) {
            (Some(_), Some(_)) => return Err(conflict("operatorId", "operator")),
            (Some(ordinal), None) => Some(WantedOperator::Ordinal(u32::try_from(ordinal).unwrap_or(u32::MAX))),
            (None, Some(text)) => Some(match text.parse() {
                Ok(ordinal) => WantedOperator::Ordinal(ordinal),
                Err(_) => WantedOperator::Name(text.to_owned()),
            }),
            (None, None) => None,
        };
        let side = match options.get("joinSide").map(str::to_ascii_lowercase).as_deref() {
            None | Some("none") => None,
            Some("left") => Some("left".to_owned()),
            Some("right") => Some("right".to_owned()),
            Some(_) => return Err(bad_value("joinSide", "Valid values are left,right,none", "WITH_MESSAGE")),
        };
        let store = one_of(options, "storeName", "store")?.map(str::to_owned);
        if side.is_some() && store.is_some() {
            return Err(conflict("joinSide", "storeName"));
        }
        let version = one_of(options, "batchId", "version")?.map(|text| number("batchId", text)).transpose()?.map(BatchId);
        Ok(Self { operator, store: side.or(store), version })
    }
}

/// The value of an option with two names.
fn one_of<'a>(options: &'a Options, name: &str, other: &str) -> Result<Option<&'a str>> {
    let found = match (options.get(name), options.get(other)) {
        (Some(_), Some(_)) if name != other => return Err(conflict(name, other)),
        (found, other) => found.or(other),
    };
    match found {
        Some("") => Err(bad_value(name, "cannot be empty", "IS_EMPTY")),
        found => Ok(found),
    }
}

fn number(name: &str, text: &str) -> Result<u64> {
    let number: i128 = text.trim().parse().map_err(|_| bad_value(name, "expected a number", "WITH_MESSAGE"))?;
    if number < 0 {
        return Err(bad_value(name, "cannot be negative", "IS_NEGATIVE"));
    }
    u64::try_from(number).map_err(|_| bad_value(name, "the number is too large", "WITH_MESSAGE"))
}

fn conflict(name: &str, other: &str) -> Error {
    Error::invalid(format!("options '{name}' and '{other}' say the same thing")).code("STDS_CONFLICT_OPTIONS").hint("give one of them")
}

fn bad_value(name: &str, why: &str, class: &str) -> Error {
    let class = match class {
        "IS_EMPTY" => "STDS_INVALID_OPTION_VALUE.IS_EMPTY",
        "IS_NEGATIVE" => "STDS_INVALID_OPTION_VALUE.IS_NEGATIVE",
        _ => "STDS_INVALID_OPTION_VALUE.WITH_MESSAGE",
    };
    Error::invalid(format!("Invalid value for source option '{name}': {why}")).code(class)
}

/// Where the checkpoint is.
pub(super) fn path_of(options: &Options) -> Result<&str> {
    options.get("path").ok_or_else(|| Error::invalid("'path' must be specified").code("STDS_REQUIRED_OPTION_UNSPECIFIED"))
}
