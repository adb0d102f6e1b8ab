//! Names without case, typed values, nearest names, secrets.

use std::time::Duration;

use super::*;

#[test]
fn names_are_compared_without_case_and_kept_as_written() {
    let options = Options::new().with("MaxFiles", "1").with("maxfiles", "2");
    assert_eq!(options.get("MAXFILES"), Some("2"));
    assert_eq!(options.iter().collect::<Vec<_>>(), [("maxfiles", "2")]);
}

#[test]
fn an_unknown_option_names_the_nearest_known_one() {
    let known = [OptionSpec::new("maxFilesPerTrigger", ""), OptionSpec::new("path", "")];
    let error = Options::new().with("maxFilePerTriger", "1").check("json source", &known).unwrap_err();
    assert_eq!(error.message(), "unknown option 'maxFilePerTriger' of the json source");
    assert_eq!(error.hint_text(), Some("did you mean 'maxFilesPerTrigger'?"));
    let error = Options::new().with("zzz", "1").check("json source", &known).unwrap_err();
    assert_eq!(error.hint_text(), None);
}

#[test]
fn a_prefix_spec_allows_any_name_below_it() {
    let known = [OptionSpec::new("kafka.*", "")];
    assert!(Options::new().with("kafka.Bootstrap.servers", "x").check("kafka source", &known).is_ok());
}

#[test]
fn secrets_are_never_printed() {
    let options = Options::new()
        .with("aws_secret_access_key", "canary")
        .with("kafka.sasl.jaas.config", "canary")
        .with("url", "redis://user:canary@host/0");
    let shown = format!("{options:?}");
    assert!(!shown.contains("canary"), "{shown}");
    assert!(shown.contains("redis://user:***@host/0"), "{shown}");
}

#[test]
fn lengths_of_time_and_numbers_of_bytes_read_as_documented() {
    let options = Options::new().with("t", "1 minute 30 seconds").with("b", "4g").with("bad", "4x");
    assert_eq!(options.get_duration("t").unwrap(), Some(Duration::from_secs(90)));
    assert_eq!(parse_duration("500"), Some(Duration::from_millis(500)));
    assert_eq!(parse_duration(""), None);
    assert_eq!(options.get_bytes("b").unwrap(), Some(4 << 30));
    assert_eq!(
        options.get_bytes("bad").unwrap_err().message(),
        "option 'bad' is '4x': expected a number of bytes such as 1048576, 128m or 4g"
    );
}

#[test]
fn options_of_one_kind_can_be_taken_apart() {
    let known = [OptionSpec::secret("aws_*", ""), OptionSpec::new("allow_http", "")];
    let options = Options::new().with("path", "s3://b/x").with("AWS_region", "eu-1").with("Allow_HTTP", "true").with("allow_http2", "no");
    assert_eq!(options.only(&known).iter().collect::<Vec<_>>(), [("Allow_HTTP", "true"), ("AWS_region", "eu-1")]);
    assert_eq!(options.only(&known).get("aws_REGION"), Some("eu-1"));
}
