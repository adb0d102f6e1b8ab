//! Names of operators. (Which queries a mode refuses is tested on SQL, in `tests/it/streams.rs`.)

use super::*;

#[test]
fn operators_are_named_by_what_they_do_and_by_which_keys() {
    let mut names = Names::default();
    let keys = |keys: &[&str]| keys.iter().map(|key| (*key).to_owned()).collect::<Vec<_>>();
    assert_eq!(names.unique("aggregate", &keys(&["window", "User Id"])), "aggregate-window-user_id");
    assert_eq!(names.unique("aggregate", &keys(&[])), "aggregate");
    assert_eq!(names.unique("aggregate", &keys(&[])), "aggregate-2");
    assert_eq!(names.unique("aggregate", &keys(&[])), "aggregate-3");
}
