//! The list of all functions. A new function is one line in its module's table.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use datafusion::logical_expr::ScalarUDF;

use crate::FunctionDef;

/// One table per module.
const TABLES: &[&[FunctionDef]] = &[
    crate::cast::FUNCTIONS,
    crate::arithmetic::FUNCTIONS,
    crate::interval_math::FUNCTIONS,
    crate::math::FUNCTIONS,
    crate::bitmap::FUNCTIONS,
    crate::passthrough::FUNCTIONS,
    crate::regexp::FUNCTIONS,
    crate::hash::FUNCTIONS,
    crate::json::FUNCTIONS,
    crate::misc::FUNCTIONS,
];

static BY_NAME: LazyLock<HashMap<&'static str, &'static FunctionDef>> = LazyLock::new(|| {
    let mut by_name = HashMap::new();
    for def in all() {
        by_name.insert(def.name, def);
        for alias in def.aliases {
            by_name.insert(*alias, def);
        }
    }
    by_name
});

/// Every function, table by table.
pub fn all() -> impl Iterator<Item = &'static FunctionDef> {
    TABLES
        .iter()
        .chain(crate::strings::TABLES)
        .chain(crate::datetime::TABLES)
        .chain(crate::collections::TABLES)
        .flat_map(|table| table.iter())
}

/// The function of a Spark name or alias (lower case).
pub fn scalar(name: &str) -> Option<&'static FunctionDef> {
    BY_NAME.get(name).copied()
}

/// Every function as a DataFusion function, to be registered with a session and to decode plans.
pub fn all_scalar() -> Vec<Arc<ScalarUDF>> {
    all().map(|def| Arc::new(def.udf())).collect()
}

#[cfg(test)]
mod tests;
