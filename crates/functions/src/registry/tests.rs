//! The tables are consistent.

use std::collections::HashSet;

use super::*;

#[test]
fn names_and_aliases_are_unique_and_lower_case() {
    let mut seen = HashSet::new();
    for def in all() {
        for name in std::iter::once(&def.name).chain(def.aliases) {
            assert!(seen.insert(*name), "{name} is listed twice");
            assert_eq!(*name, name.to_lowercase());
        }
        assert!(def.min_args <= def.args.len(), "{}", def.name);
        assert!(def.repeat <= def.args.len(), "{}", def.name);
    }
}
