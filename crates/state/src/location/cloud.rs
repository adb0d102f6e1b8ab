//! S3 and stores that speak its protocol; GCS and Azure behind the cargo features `gcp` and `azure`.
//!
//! One client per bucket and settings is shared by the whole process, so that connections are. Settings come from
//! `AWS_*` in the environment, then from options: Spark's `fs.s3a.*` (with or without `spark.hadoop.`), then
//! object_store's own names, which win. Never prints a setting's value.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

use millstream_core::{Error, Options, Result};
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};

use super::{Store, store_error};

/// Spark's names for S3 settings and object_store's. `fs.s3a.connection.ssl.enabled` and path style are turned around below.
const S3A_NAMES: [(&str, AmazonS3ConfigKey); 6] = [
    ("fs.s3a.access.key", AmazonS3ConfigKey::AccessKeyId),
    ("fs.s3a.secret.key", AmazonS3ConfigKey::SecretAccessKey),
    ("fs.s3a.session.token", AmazonS3ConfigKey::Token),
    ("fs.s3a.endpoint", AmazonS3ConfigKey::Endpoint),
    ("fs.s3a.endpoint.region", AmazonS3ConfigKey::Region),
    ("fs.s3a.assumed.role.arn", AmazonS3ConfigKey::RoleArn),
];

pub fn s3(url: &str, bucket: &str, options: &Options) -> Result<Arc<dyn Store>> {
    if bucket.is_empty() {
        return Err(Error::invalid(format!("'{url}' names no bucket: write s3://bucket/path")));
    }
    let settings = s3_settings(options)?;
    shared(format!("s3:{bucket}"), settings, |settings| {
        let mut builder = AmazonS3Builder::from_env().with_bucket_name(bucket);
        for (name, value) in settings {
            let key = name.parse::<AmazonS3ConfigKey>().map_err(store_error)?;
            builder = builder.with_config(key, value);
        }
        Ok(Arc::new(builder.build().map_err(|error| store_error(error).context(format!("opening '{url}'")))?))
    })
}

/// The options that are for S3, by object_store's names.
fn s3_settings(options: &Options) -> Result<BTreeMap<String, String>> {
    let mut settings = BTreeMap::new();
    for (name, value) in options.iter() {
        let lower = name.to_ascii_lowercase();
        let lower = lower.strip_prefix("spark.hadoop.").unwrap_or(&lower);
        if let Some((_, key)) = S3A_NAMES.iter().find(|(known, _)| *known == lower) {
            let mut value = value.to_owned();
            if *key == AmazonS3ConfigKey::Endpoint && !value.contains("://") {
                value.insert_str(0, if ssl_enabled(options)? { "https://" } else { "http://" });
            }
            settings.insert(key.as_ref().to_owned(), value);
        } else if lower == "fs.s3a.path.style.access" {
            let path_style = boolean(name, value)?;
            settings.insert(AmazonS3ConfigKey::VirtualHostedStyleRequest.as_ref().to_owned(), (!path_style).to_string());
        }
    }
    for (name, value) in options.iter() {
        let lower = name.to_ascii_lowercase();
        if let (true, Ok(key)) = (lower.starts_with("aws_"), lower.parse::<AmazonS3ConfigKey>()) {
            settings.insert(key.as_ref().to_owned(), value.to_owned());
        } else if lower == "allow_http" {
            settings.insert("allow_http".to_owned(), value.to_owned());
        } else if lower.starts_with("aws_") {
            return Err(Error::invalid(format!("unknown option '{name}' of s3")));
        }
    }
    let plain = settings.get(AmazonS3ConfigKey::Endpoint.as_ref()).is_some_and(|endpoint| endpoint.starts_with("http://"));
    if plain {
        // Who writes http:// in the endpoint has said so already.
        settings.entry("allow_http".to_owned()).or_insert_with(|| "true".to_owned());
    }
    Ok(settings)
}

fn ssl_enabled(options: &Options) -> Result<bool> {
    let name = "fs.s3a.connection.ssl.enabled";
    match options.get(name).or_else(|| options.get(&format!("spark.hadoop.{name}"))) {
        Some(value) => boolean(name, value),
        None => Ok(true),
    }
}

fn boolean(name: &str, value: &str) -> Result<bool> {
    value.to_ascii_lowercase().parse().map_err(|_| Error::invalid(format!("option '{name}' is '{value}': expected true or false")))
}

#[cfg(feature = "gcp")]
pub fn gcs(url: &str, bucket: &str, options: &Options) -> Result<Arc<dyn Store>> {
    use object_store::gcp::{GoogleCloudStorageBuilder, GoogleConfigKey};
    let settings = prefixed(options, "google_");
    shared(format!("gs:{bucket}"), settings, |settings| {
        let mut builder = GoogleCloudStorageBuilder::from_env().with_bucket_name(bucket);
        for (name, value) in settings {
            builder = builder.with_config(name.parse::<GoogleConfigKey>().map_err(store_error)?, value);
        }
        Ok(Arc::new(builder.build().map_err(|error| store_error(error).context(format!("opening '{url}'")))?))
    })
}

#[cfg(not(feature = "gcp"))]
pub fn gcs(url: &str, _bucket: &str, _options: &Options) -> Result<Arc<dyn Store>> {
    Err(Error::unsupported(format!("'{url}': this build has no Google Cloud Storage")).hint("build with the cargo feature 'gcp'"))
}

#[cfg(feature = "azure")]
pub fn azure(url: &str, authority: &str, options: &Options) -> Result<Arc<dyn Store>> {
    use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
    let settings = prefixed(options, "azure_");
    shared(format!("az:{authority}"), settings, |settings| {
        let mut builder = MicrosoftAzureBuilder::from_env().with_url(url);
        for (name, value) in settings {
            builder = builder.with_config(name.parse::<AzureConfigKey>().map_err(store_error)?, value);
        }
        Ok(Arc::new(builder.build().map_err(|error| store_error(error).context(format!("opening '{url}'")))?))
    })
}

#[cfg(not(feature = "azure"))]
pub fn azure(url: &str, _authority: &str, _options: &Options) -> Result<Arc<dyn Store>> {
    Err(Error::unsupported(format!("'{url}': this build has no Azure storage")).hint("build with the cargo feature 'azure'"))
}

#[cfg(any(feature = "gcp", feature = "azure"))]
fn prefixed(options: &Options, prefix: &str) -> BTreeMap<String, String> {
    options.iter().map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned())).filter(|(name, _)| name.starts_with(prefix)).collect()
}

type Key = (String, BTreeMap<String, String>);

/// The client of this bucket and these settings; made once and dropped with its last user.
fn shared(
    bucket: String,
    settings: BTreeMap<String, String>,
    make: impl FnOnce(&BTreeMap<String, String>) -> Result<Arc<dyn Store>>,
) -> Result<Arc<dyn Store>> {
    static CLIENTS: OnceLock<Mutex<HashMap<Key, Weak<dyn Store>>>> = OnceLock::new();
    let mut clients = CLIENTS.get_or_init(Mutex::default).lock().unwrap_or_else(PoisonError::into_inner);
    let key = (bucket, settings);
    if let Some(client) = clients.get(&key).and_then(Weak::upgrade) {
        return Ok(client);
    }
    clients.retain(|_, client| client.strong_count() > 0);
    let client = make(&key.1)?;
    clients.insert(key, Arc::downgrade(&client));
    Ok(client)
}
