//! Tests of what is read from other programs.

use super::java_version;

#[test]
fn the_version_of_java_is_read_from_what_it_prints() {
    for (printed, version) in [
        ("openjdk version \"17.0.15\" 2025-04-15\nOpenJDK Runtime Environment", Some(17)),
        ("openjdk version \"25\" 2025-09-16", Some(25)),
        ("java version \"1.8.0_292\"", Some(1)),
        ("openjdk version \"26-ea\"", Some(26)),
        ("command not found", None),
    ] {
        assert_eq!(java_version(printed), version, "{printed}");
    }
}
