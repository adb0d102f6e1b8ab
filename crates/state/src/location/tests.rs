//! One spelling, one place.

use bytes::Bytes;
use object_store::ObjectStoreExt;

use super::*;

fn parse(text: &str) -> Location {
    Location::parse(text, &Options::new()).unwrap()
}

#[test]
fn paths_and_file_urls_are_local_and_taken_as_written() {
    let here = std::env::current_dir().unwrap();
    assert_eq!(parse("out/a b%20c").as_local().unwrap(), here.join("out/a b%20c"));
    assert_eq!(parse("./out/").as_local().unwrap(), here.join("out"));
    for text in ["/data/in", "file:/data/in", "file:///data/in/", "FILE://localhost/data/in"] {
        assert_eq!(parse(text).as_local().unwrap(), Path::new("/data/in"), "{text}");
        assert_eq!(parse(text).url(), "file:/data/in");
    }
    assert_eq!(parse("events:2024.json").as_local().unwrap(), here.join("events:2024.json"));
    assert!(Location::parse("file://host/x", &Options::new()).is_err());
    assert!(Location::parse(" ", &Options::new()).is_err());
}

#[test]
fn join_keeps_names_as_they_are() {
    assert_eq!(parse("/a").join("b/c=%3A").as_local().unwrap(), Path::new("/a/b/c=%3A"));
    let Location::Object { prefix, url, .. } = parse("memory://join/a%25/").join("b").join("c=%3A") else { unreachable!() };
    assert_eq!((prefix.as_ref(), url.as_str()), ("a%25/b/c=%3A", "memory://join/a%25/b/c=%3A"));
}

#[tokio::test]
async fn memory_stores_are_shared_by_name() {
    let (Location::Object { store, prefix, .. }, Location::Object { store: same, .. }, Location::Object { store: other, .. }) =
        (parse("memory://one/x"), parse("memory://one/"), parse("memory://two"))
    else {
        unreachable!()
    };
    store.put(&prefix, Bytes::from_static(b"1").into()).await.unwrap();
    assert!(same.head(&prefix).await.is_ok());
    assert!(other.head(&prefix).await.is_err());
}

#[test]
fn s3_clients_are_shared_by_bucket_and_settings() {
    let options = Options::new()
        .with("fs.s3a.endpoint", "localhost:7070")
        .with("fs.s3a.connection.ssl.enabled", "false")
        .with("fs.s3a.path.style.access", "true")
        .with("fs.s3a.access.key", "k")
        .with("fs.s3a.secret.key", "canary")
        .with("aws_region", "us-east-1");
    let open = |url: &str, options: &Options| match Location::parse(url, options).unwrap() {
        location @ Location::Object { .. } => location,
        Location::Local { .. } => unreachable!(),
    };
    let (a, b) = (open("s3a://bucket/x/y/", &options), open("s3://bucket", &options));
    assert_eq!((a.to_string(), b.to_string()), ("s3a://bucket/x/y".to_owned(), "s3://bucket".to_owned()));
    assert!(!format!("{a:?}").contains("canary"));
    let same = |a: &Location, b: &Location| match (a, b) {
        (Location::Object { store: a, .. }, Location::Object { store: b, .. }) => Arc::ptr_eq(a, b),
        _ => false,
    };
    assert!(same(&a, &b));
    assert!(!same(&a, &open("s3://bucket", &options.clone().with("aws_region", "eu-west-1"))));
}

#[test]
fn wrong_urls_say_what_to_write() {
    let message = |text: &str, options: &Options| Location::parse(text, options).unwrap_err().to_string();
    let none = Options::new();
    assert_eq!(message("s3:///x", &none), "'s3:///x' names no bucket: write s3://bucket/path");
    assert!(!message("s3://key:canary@bucket/x", &none).contains("canary"));
    assert_eq!(message("ftp://h/x", &none), "paths of scheme 'ftp' are not supported: 'ftp://h/x'");
    assert_eq!(message("s3://b/x", &Options::new().with("aws_regoin", "x")), "unknown option 'aws_regoin' of s3");
    if cfg!(not(feature = "gcp")) {
        assert_eq!(message("gs://b/x", &none), "'gs://b/x': this build has no Google Cloud Storage");
    }
}
