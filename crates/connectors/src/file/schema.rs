//! The columns of a file source: given or inferred, then the partition columns, then (if asked for) `_metadata`.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use millstream_core::connector::SourceRequest;
use millstream_core::{Error, Result};
use millstream_formats::datetime::Zone;

use super::committed::Committed;
use super::format::FileFormat;
use super::listing::{FoundFile, Lister};
use super::metadata::{with_metadata, without_metadata};
use super::names::OwnName;
use super::options::FileSourceOptions;
use super::partition::{partition_fields, partition_values};
use super::{parquet_schema, read_lines};

/// See the [module](self).
pub(super) async fn resolve(
    format: FileFormat,
    options: &FileSourceOptions,
    request: &SourceRequest,
    lister: &mut Lister,
    zone: Zone,
) -> Result<SchemaRef> {
    let infers = request.schema.is_none() && format != FileFormat::Text;
    let may_infer = !request.is_streaming || request.options.get_bool("streamingSchemaInference")?.unwrap_or(false);
    if infers && !may_infer {
        return Err(Error::invalid("a streaming file source needs a schema")
            .hint("give a schema, or set spark.sql.streaming.schemaInference to true"));
    }
    let now_us = request.clock.now_proc_us();
    // Each folder that holds files, and one of them.
    let mut folders: BTreeMap<String, String> = BTreeMap::new();
    let data = if infers {
        let mut files = lister.list(now_us, &|_| true).await?;
        if !lister.is_glob() {
            let committed = Committed::read(&lister.base).await?;
            files.retain(|file| {
                let own = OwnName::parse(file.path.rsplit('/').next().unwrap_or_default());
                own.is_none_or(|own| committed.counts(own.query_id, own.batch_id)) && !committed.is_retired(&file.path)
            });
        }
        files.sort_by(|left, right| (left.mtime_us, &left.path).cmp(&(right.mtime_us, &right.path)));
        folders.extend(files.iter().map(|file| (folder_of(&file.path).to_owned(), file.path.clone())));
        infer(format, request, lister, &files, zone).await?
    } else {
        // Only the folders count, and there may be a million files: none is kept.
        let known = std::sync::Mutex::new(&mut folders);
        lister
            .list(now_us, &|path| {
                let mut known = known.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                if !known.contains_key(folder_of(path)) {
                    known.insert(folder_of(path).to_owned(), path.to_owned());
                }
                false
            })
            .await?;
        match &request.schema {
            Some(schema) => without_metadata(schema),
            None => Arc::new(Schema::new(vec![Field::new("value", DataType::Utf8, true)])),
        }
    };
    lister.forget();
    if request.schema.is_none() || !request.is_streaming {
        path_must_exist(request, lister, folders.is_empty()).await?;
    }
    let values = folders.values().map(|path| (path.as_str(), partition_values(lister.partition_folders(path).into_iter())));
    let partitions = partition_fields(values, options.infer_partition_types, zone)?;
    let schema = with_partitions(&data, partitions);
    if format == FileFormat::Text {
        check_text(&schema, lister, &folders)?;
    }
    Ok(if options.metadata_column { with_metadata(&schema, format) } else { schema })
}

fn folder_of(path: &str) -> &str {
    path.rfind('/').and_then(|at| path.get(..=at)).unwrap_or_default()
}

/// Data columns first, in the order given, then the partition columns in the order of folders; a type that was given wins.
fn with_partitions(data: &Schema, partitions: Vec<Field>) -> SchemaRef {
    let is_partition = |name: &str| partitions.iter().any(|field| field.name().eq_ignore_ascii_case(name));
    let nullable = millstream_formats::decoder::nullable_schema(data);
    let mut fields: Vec<Arc<Field>> = nullable.fields().iter().filter(|field| !is_partition(field.name())).cloned().collect();
    for partition in partitions {
        let given = nullable.fields().iter().find(|field| field.name().eq_ignore_ascii_case(partition.name()));
        fields.push(given.cloned().unwrap_or_else(|| Arc::new(partition)));
    }
    Arc::new(Schema::new_with_metadata(fields, data.metadata().clone()))
}

async fn infer(format: FileFormat, request: &SourceRequest, lister: &Lister, files: &[FoundFile], zone: Zone) -> Result<SchemaRef> {
    let nothing = || {
        Error::invalid(format!("there is no file to infer the {} schema of '{}' from", format.name(), lister.description()))
            .code("UNABLE_TO_INFER_SCHEMA")
            .hint("give a schema")
    };
    if files.is_empty() {
        path_must_exist(request, lister, true).await?;
        return Err(nothing());
    }
    match format {
        FileFormat::Parquet => parquet_schema::schema_of_files(&lister.base, files, &request.options).await?.ok_or_else(nothing),
        _ => read_lines::infer_schema(format, &request.options, &lister.base, files, zone).await,
    }
}

async fn path_must_exist(request: &SourceRequest, lister: &Lister, is_empty: bool) -> Result<()> {
    let exists = match lister.base.as_local() {
        Some(path) => path.try_exists().unwrap_or(true),
        None => !is_empty,
    };
    if request.options.get_bool("pathMustExist")? == Some(false) || exists && !(lister.is_glob() && is_empty) {
        return Ok(());
    }
    let path = request.options.get("path").unwrap_or_default();
    Err(Error::invalid(format!("path '{path}' does not exist")).code("PATH_NOT_FOUND"))
}

/// Text has one column beside the partition columns.
fn check_text(schema: &Schema, lister: &Lister, folders: &BTreeMap<String, String>) -> Result<()> {
    let keys: Vec<String> =
        folders.values().flat_map(|path| partition_values(lister.partition_folders(path).into_iter())).map(|(name, _)| name).collect();
    let data: Vec<_> = schema.fields().iter().filter(|field| !keys.iter().any(|key| key.eq_ignore_ascii_case(field.name()))).collect();
    match data.as_slice() {
        [] => Ok(()),
        [field] if field.data_type() == &DataType::Utf8 => Ok(()),
        _ => Err(Error::invalid("text files have one column of type STRING").hint("use format csv or json for more columns")),
    }
}
